package thrift

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// ReadFrame reads a frame: four bytes with a length, and the content. It refuses
// one that is empty or longer than limit, and takes memory only as bytes arrive.
// At the end of the input before a frame it returns io.EOF.
func ReadFrame(r io.Reader, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err //nolint:wrapcheck // io.EOF, as it is
	}
	size := int64(binary.BigEndian.Uint32(head[:]))
	if size == 0 || size > int64(limit) {
		return nil, fmt.Errorf("frame of %d bytes, and 1 to %d are allowed", size, limit)
	}
	var content bytes.Buffer
	if n, err := io.CopyN(&content, r, size); err != nil {
		return nil, fmt.Errorf("frame: %w: %d bytes of %d: %w", errShort, n, size, err)
	}
	return content.Bytes(), nil
}

// Frame returns the frame of a content, or an error if the other side, whose
// limit this is, would refuse it.
func Frame(content []byte, limit int) ([]byte, error) {
	if len(content) == 0 || len(content) > limit {
		return nil, fmt.Errorf("frame of %d bytes, and 1 to %d are allowed", len(content), limit)
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(content)), uint32(len(content))) //nolint:gosec // at most limit
	return append(frame, content...), nil
}
