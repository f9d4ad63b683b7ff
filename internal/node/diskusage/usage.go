// Package diskusage measures what a worker takes up of its node's disks, whatever the
// worker does meanwhile, and reports a worker that takes up more than its limit.
//
// A worker may change its directories while they are walked. So a walk looks names up
// in open directories, follows no link, enters no mount, and ends at the limit: it never
// sees more files than a worker may have.
package diskusage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Usage is what files take up of their file systems.
type Usage struct {
	// Bytes is the size of their blocks: holes of sparse files are not in it.
	Bytes int64
	// Inodes is the number of files, directories, links and all else.
	Inodes int64
}

const (
	// bytesPerInode is how many bytes ext4 has for each inode by default. A worker
	// that may have a part of the bytes may have the same part of the inodes.
	bytesPerInode = 16 << 10
	// minInodes and maxInodes bound that. The most bounds a walk, too.
	minInodes = 1 << 10
	maxInodes = 1 << 18
)

// LimitOf returns the limit of a worker that may take up that many bytes: one inode for
// each 16 KiB, at least 1024 and at most 262144. 0 bytes are no limit at all.
func LimitOf(bytes int64) Usage {
	if bytes <= 0 {
		return Usage{}
	}
	return Usage{Bytes: bytes, Inodes: min(max(bytes/bytesPerInode, minInodes), maxInodes)}
}

// beyond reports whether u is more than a limit.
func (u Usage) beyond(limit Usage) bool { return u.Bytes > limit.Bytes || u.Inodes > limit.Inodes }

// Part is what one place of a worker takes up.
type Part struct {
	Name string
	Usage
}

// Report is what a worker takes up. If it is Over the limit, the walk ended there, so that
// the rest is not counted.
type Report struct {
	Usage
	Parts []Part
	Over  bool
	// Note says why a worker is over its limit if it is not for the numbers.
	Note string
}

// Message says what takes up how much of the limit, the largest part first.
func (r Report) Message(limit Usage) string {
	parts := slices.Clone(r.Parts)
	slices.SortStableFunc(parts, func(a, b Part) int {
		if r.Bytes > limit.Bytes {
			return cmp.Compare(b.Bytes, a.Bytes)
		}
		return cmp.Compare(b.Inodes, a.Inodes)
	})
	var words []string
	for _, p := range parts {
		if p.Inodes > 0 {
			words = append(words, fmt.Sprintf("%s: %s in %d files", p.Name, size(p.Bytes), p.Inodes))
		}
	}
	text := fmt.Sprintf("took up more than its %s in %d files (%s)", size(limit.Bytes), limit.Inodes, strings.Join(words, ", "))
	if r.Note != "" {
		text += "; " + r.Note
	}
	return text
}

// size writes bytes for people.
func size(bytes int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	n, at := float64(bytes), 0
	for n >= 1024 && at < len(units)-1 {
		n, at = n/1024, at+1
	}
	return fmt.Sprintf("%.4g %s", n, units[at])
}
