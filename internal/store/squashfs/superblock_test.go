package squashfs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/stormcell/stormcell/internal/store/squashfs"
)

// valid is the superblock of a file of 4096 bytes, as mksquashfs writes it.
func valid() []byte {
	b := make([]byte, 4096)
	le := binary.LittleEndian
	copy(b, "hsqs")
	le.PutUint32(b[4:], 12)       // inodes
	le.PutUint32(b[8:], 1000)     // time
	le.PutUint32(b[12:], 128<<10) // block size
	le.PutUint16(b[20:], 6)       // zstd
	le.PutUint16(b[22:], 17)      // its logarithm
	le.PutUint16(b[26:], 1)       // ids
	le.PutUint16(b[28:], 4)       // version
	le.PutUint64(b[40:], 900)     // bytes used
	le.PutUint64(b[48:], 880)     // id table
	le.PutUint64(b[56:], 1<<64-1) // xattr table
	le.PutUint64(b[64:], 96)      // inode table
	le.PutUint64(b[72:], 300)     // directory table
	le.PutUint64(b[80:], 700)     // fragment table
	le.PutUint64(b[88:], 1<<64-1) // export table
	return b
}

func TestCheckSuperblock(t *testing.T) {
	b := valid()
	got, err := squashfs.CheckSuperblock(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if got.Inodes != 12 || got.BlockSize != 128<<10 || got.Compression != "zstd" || got.BytesUsed != 900 || got.Made.Unix() != 1000 {
		t.Errorf("superblock %+v", got)
	}
}

func TestCheckSuperblockRefuses(t *testing.T) {
	le := binary.LittleEndian
	tests := map[string]struct {
		change func(b []byte) []byte
		says   string
	}{
		"an empty file":            {func([]byte) []byte { return nil }, "less than a superblock"},
		"half a superblock":        {func(b []byte) []byte { return b[:50] }, "less than a superblock"},
		"another magic":            {func(b []byte) []byte { b[0] = 'x'; return b }, "magic"},
		"version 3":                {func(b []byte) []byte { b[28] = 3; return b }, "version 3.0"},
		"no compressor":            {func(b []byte) []byte { b[20] = 9; return b }, "compressor 9"},
		"a block size of 3":        {func(b []byte) []byte { le.PutUint32(b[12:], 3); return b }, "block size"},
		"another logarithm":        {func(b []byte) []byte { b[22] = 18; return b }, "block size"},
		"a huge logarithm":         {func(b []byte) []byte { b[22] = 200; return b }, "block size"},
		"longer than its file":     {func(b []byte) []byte { le.PutUint64(b[40:], 4097); return b }, "cut short"},
		"longer than any file":     {func(b []byte) []byte { le.PutUint64(b[40:], 1<<63); return b }, "cut short"},
		"shorter than its head":    {func(b []byte) []byte { le.PutUint64(b[40:], 95); return b }, "claims to be 95"},
		"no inodes":                {func(b []byte) []byte { le.PutUint32(b[4:], 0); return b }, "0 inodes"},
		"no owners":                {func(b []byte) []byte { b[26] = 0; return b }, "0 owner ids"},
		"a table behind its end":   {func(b []byte) []byte { le.PutUint64(b[72:], 900); return b }, "directory table"},
		"a table in its head":      {func(b []byte) []byte { le.PutUint64(b[64:], 10); return b }, "inode table"},
		"no owner table":           {func(b []byte) []byte { le.PutUint64(b[48:], 1<<64-1); return b }, "id table"},
		"tables in another order":  {func(b []byte) []byte { le.PutUint64(b[64:], 500); return b }, "follows"},
		"a file that was cut":      {func(b []byte) []byte { return b[:899] }, "cut short"},
		"a table of xattrs beyond": {func(b []byte) []byte { le.PutUint64(b[56:], 1<<40); return b }, "xattr table"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := tt.change(valid())
			_, err := squashfs.CheckSuperblock(bytes.NewReader(b), int64(len(b)))
			if !errors.Is(err, squashfs.ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want one that says %q", err, tt.says)
			}
		})
	}
}

func FuzzCheckSuperblock(f *testing.F) {
	f.Add(valid())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := squashfs.CheckSuperblock(bytes.NewReader(b), int64(len(b)))
		if err == nil && (s.BytesUsed > int64(len(b)) || s.Compression == "") {
			t.Errorf("superblock %+v of %d bytes", s, len(b))
		}
	})
}
