package protocol

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/stormcell/stormcell/internal/storm/thrift"
)

// MaxZnode is how many bytes the structure of a znode may take up. An Assignment
// of 1,000 workers and 4,000 executors takes 0.6 MB.
const MaxZnode = 32 << 20

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// EncodeZnode returns a structure as Storm's daemons read it from a znode. It
// decodes the result again and compares: Nimbus ends when it reads a znode of a
// supervisor that is wrong, and ends again until that is gone.
func EncodeZnode[T any](v T) ([]byte, error) {
	b, err := thrift.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(b) > MaxZnode {
		return nil, fmt.Errorf("%T: %w", v, errZnodeSize)
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(b); err != nil {
		return nil, fmt.Errorf("%T: %w", v, err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("%T: %w", v, err)
	}
	read, err := unpack(packed.Bytes())
	if err != nil {
		return nil, fmt.Errorf("%T: %w: %w", v, thrift.ErrChanged, err)
	}
	if err := thrift.Same(read, v); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// DecodeZnode reads what Storm's daemons and workers wrote into a znode: packed
// with gzip, as Storm 2 does, or not packed.
func DecodeZnode[T any](content []byte) (T, error) {
	var none T
	b, err := unpack(content)
	if err != nil {
		return none, fmt.Errorf("znode with %T: %w", none, err)
	}
	v, err := thrift.Unmarshal[T](b)
	if err != nil {
		return none, fmt.Errorf("znode: %w", err)
	}
	return v, nil
}

var errZnodeSize = fmt.Errorf("more than %d bytes", MaxZnode)

func unpack(content []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(content, zstdMagic):
		return nil, errors.New("packed with zstd, as Storm 3 does; this is for Storm 2")
	case !bytes.HasPrefix(content, gzipMagic):
		return content, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	b, err := io.ReadAll(io.LimitReader(r, MaxZnode+1))
	if err != nil {
		return nil, fmt.Errorf("gzip: %w", err)
	}
	if len(b) > MaxZnode {
		return nil, errZnodeSize
	}
	return b, nil
}
