package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"

	"github.com/colinmarc/hdfs/v2"

	"github.com/stormcell/stormcell/internal/store"
)

// chunk is the number of bytes that one checksum of HDFS covers, or a part of
// it. The library (v2.4.0) checks a read of less before it hands out a byte,
// and goes on with another replica where the checksum does not match. A longer
// read returns bytes that do not match as if they did; only that it connects
// anew for the next read tells of it.
const chunk = 512

// readFull fills p from r, as io.ReadFull does, by reads that are slow and safe.
func readFull(r *hdfs.FileReader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:min(n+chunk-1, len(p))])
		n += m
	}
	if n == len(p) {
		return n, nil
	}
	return n, err
}

// readFast fills p by long reads. It is sure of them only if the last, a safe
// one, still has the connection of the first: connections tells how many were
// made. If it is not sure, it has read nothing that counts.
func readFast(r *hdfs.FileReader, p []byte, connections func() int64) (sure bool) {
	if len(p) <= 2*chunk {
		return false
	}
	n, err := r.Read(p[:len(p)-chunk])
	if err != nil {
		return false
	}
	first := connections()
	for n < len(p)-chunk {
		m, err := r.Read(p[n : len(p)-chunk])
		if err != nil {
			return false
		}
		n += m
	}
	_, err = readFull(r, p[n:])
	return err == nil && connections() == first
}

// ReadFile implements store.Reader.
func (s *Store) ReadFile(ctx context.Context, name string, limit int64) (content []byte, err error) {
	p, err := s.path(name)
	if err != nil {
		return nil, err
	}
	limit = min(limit, math.MaxInt64-1)
	err = s.do(ctx, func(c *hdfs.Client) error {
		content, err = readFile(c, p, limit)
		return err
	})
	return content, err
}

func readFile(c *hdfs.Client, p string, limit int64) ([]byte, error) {
	f, err := c.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi := f.Stat()
	if !regular(fi) {
		return nil, fmt.Errorf("%s: %w", p, store.ErrNotFile)
	}
	if fi.Size() > limit {
		return nil, fmt.Errorf("read %s: %w (%d bytes)", p, store.ErrTooLarge, limit)
	}
	content := make([]byte, fi.Size())
	if n, err := readFull(f, content); err != nil {
		return nil, blame(p, f, int64(n), err)
	}
	return content, nil
}

// blame says in which block of the file at p a read failed at byte off. What a
// NameNode refuses is no block's fault.
func blame(p string, r *hdfs.FileReader, off int64, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the file's length is known
	}
	if answered(err) {
		return fmt.Errorf("read %s: %w", p, err)
	}
	return fmt.Errorf("read %s: %s: %w: %w", p, blockAt(r, off), ErrNoReplica, err)
}

// blockAt names the block of a file that holds the byte at off as hdfs fsck
// does, or the byte alone if the reader has not heard of the blocks.
func blockAt(r *hdfs.FileReader, off int64) (name string) {
	name = fmt.Sprintf("byte %d", off)
	// The library keeps the blocks to itself. A name in a message is worth a
	// look; if another version has them elsewhere, the message is shorter.
	defer func() { _ = recover() }()
	blocks := reflect.ValueOf(r).Elem().FieldByName("blocks")
	for i := range blocks.Len() {
		located := blocks.Index(i).Elem()
		block := located.FieldByName("B").Elem()
		start := int64(located.FieldByName("Offset").Elem().Uint())       //nolint:gosec // HDFS's are signed
		end := start + int64(block.FieldByName("NumBytes").Elem().Uint()) //nolint:gosec // likewise
		if off >= start && off < end {
			id := int64(block.FieldByName("BlockId").Elem().Uint()) //nolint:gosec // likewise
			return fmt.Sprintf("block %d (blk_%d, bytes %d to %d)", i, id, start, end-1)
		}
	}
	return name
}
