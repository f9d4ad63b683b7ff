// Package squashfs writes squashfs file systems by mksquashfs and checks the headers of
// squashfs files.
package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// ErrInvalid is a file that is not a whole squashfs 4.0 file system.
var ErrInvalid = errors.New("not a valid squashfs file system")

// SuperblockSize is the number of bytes of a superblock at the file's start.
const SuperblockSize = 96

const (
	magic    = 0x73717368 // "hsqs"
	noTable  = math.MaxUint64
	minBlock = 4 << 10
	maxBlock = 1 << 20
)

// compressors are the names of squashfs's compressor numbers, from the
// kernel's squashfs_fs.h.
var compressors = map[uint16]string{1: "gzip", 2: "lzma", 3: "lzo", 4: "xz", 5: "lz4", 6: "zstd"}

// Superblock is what a squashfs file says about itself.
type Superblock struct {
	// Inodes is the number of files of every kind.
	Inodes uint32
	// Made is the time of making, in whole seconds.
	Made time.Time
	// BlockSize is the size of a data block before compression, in bytes.
	BlockSize uint32
	// Compression names the compressor, such as "zstd".
	Compression string
	// BytesUsed is the length of the file system; padding may follow it.
	BytesUsed int64
}

// header is the superblock as it lies on disk, little-endian.
type header struct {
	Magic                      uint32
	Inodes, Made               uint32
	BlockSize, Fragments       uint32
	Compression, BlockLog      uint16
	Flags, IDs                 uint16
	Major, Minor               uint16
	RootInode, BytesUsed       uint64
	IDTable, XattrTable        uint64
	InodeTable, DirectoryTable uint64
	FragmentTable, ExportTable uint64
}

// CheckSuperblock reads the superblock of a file of size bytes and checks that
// the file can hold what it claims: a squashfs that says it is longer than its
// file would fail late, at the first read of its missing end. Errors of
// content wrap ErrInvalid.
func CheckSuperblock(r io.ReaderAt, size int64) (Superblock, error) {
	h, err := readHeader(r, size)
	if err != nil {
		return Superblock{}, err
	}
	return Superblock{
		Inodes:      h.Inodes,
		Made:        time.Unix(int64(h.Made), 0).UTC(),
		BlockSize:   h.BlockSize,
		Compression: compressors[h.Compression],
		BytesUsed:   offset(h.BytesUsed),
	}, nil
}

// readHeader reads and validates the header of a file of size bytes.
func readHeader(r io.ReaderAt, size int64) (header, error) {
	var h header
	if size < SuperblockSize {
		return h, fmt.Errorf("%w: %d bytes are less than a superblock", ErrInvalid, size)
	}
	if err := binary.Read(io.NewSectionReader(r, 0, SuperblockSize), binary.LittleEndian, &h); err != nil {
		return h, fmt.Errorf("read squashfs superblock: %w", err)
	}
	if err := h.validate(uint64(size)); err != nil {
		return h, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return h, nil
}

func (h header) validate(size uint64) error {
	switch {
	case h.Magic != magic:
		return fmt.Errorf("magic %#x, want %#x", h.Magic, uint32(magic))
	case h.Major != 4 || h.Minor != 0:
		return fmt.Errorf("version %d.%d, want 4.0", h.Major, h.Minor)
	case compressors[h.Compression] == "":
		return fmt.Errorf("unknown compressor %d", h.Compression)
	case h.BlockSize < minBlock || h.BlockSize > maxBlock || h.BlockLog > 20 || h.BlockSize != 1<<h.BlockLog:
		return fmt.Errorf("block size %d with logarithm %d", h.BlockSize, h.BlockLog)
	case h.BytesUsed < SuperblockSize:
		return fmt.Errorf("it claims to be %d bytes long", h.BytesUsed)
	case h.BytesUsed > size:
		return fmt.Errorf("it claims to be %d bytes long, the file has %d: it was cut short", h.BytesUsed, size)
	case h.Inodes == 0 || h.IDs == 0:
		return fmt.Errorf("%d inodes and %d owner ids", h.Inodes, h.IDs)
	}
	return h.validateTables()
}

// offset is a place in a file that validate has found to lie within it.
func offset(n uint64) int64 { return int64(n) } //nolint:gosec // within an int64 size

// validateTables checks that the tables lie inside the file system. The
// kernel checks their inner structure when it mounts.
func (h header) validateTables() error {
	tables := []struct {
		name     string
		start    uint64
		optional bool
	}{
		{"inode", h.InodeTable, false},
		{"directory", h.DirectoryTable, false},
		{"fragment", h.FragmentTable, true},
		{"export", h.ExportTable, true},
		{"id", h.IDTable, false},
		{"xattr", h.XattrTable, true},
	}
	for _, t := range tables {
		if t.optional && t.start == noTable {
			continue
		}
		if t.start < SuperblockSize || t.start >= h.BytesUsed {
			return fmt.Errorf("its %s table at %d lies outside of its %d bytes", t.name, t.start, h.BytesUsed)
		}
	}
	if h.InodeTable >= h.DirectoryTable {
		return fmt.Errorf("its inode table at %d follows its directory table at %d", h.InodeTable, h.DirectoryTable)
	}
	return nil
}
