package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/colinmarc/hdfs/v2"

	"github.com/stormcell/stormcell/internal/imagestore"
)

// safePiece is how much is read from the library at once, in bytes: less than
// the 512 that one checksum covers. Larger reads go past a checksum that does
// not match (it returns the bytes and no error, v2.4.0); smaller ones are
// checked before a byte is handed out, and go on with another replica.
const safePiece = 511

// readFull fills p from r, as io.ReadFull does.
func readFull(r *hdfs.FileReader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:min(n+safePiece, len(p))])
		n += m
	}
	if n == len(p) {
		return n, nil
	}
	return n, err
}

// ReadFile implements imagestore.Reader.
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
		return nil, fmt.Errorf("%s: %w", p, imagestore.ErrNotFile)
	}
	if fi.Size() > limit {
		return nil, fmt.Errorf("read %s: %w (%d bytes)", p, imagestore.ErrTooLarge, limit)
	}
	content := make([]byte, fi.Size())
	if n, err := readFull(f, content); err != nil {
		return nil, blame(p, fi, int64(n), err)
	}
	return content, nil
}

// blame says in which block of the file at p a read failed at byte off. What a
// NameNode refuses is no block's fault.
func blame(p string, fi os.FileInfo, off int64, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the file's length is known
	}
	if answered(err) {
		return fmt.Errorf("read %s: %w", p, err)
	}
	size := max(1, int64(status(fi).GetBlocksize())) //nolint:gosec // far below the limit
	return fmt.Errorf("read %s: block %d (from byte %d): %w: %w", p, off/size, off/size*size, ErrNoReplica, err)
}
