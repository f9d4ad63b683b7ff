package thrift

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxDepth is how deep structs and collections that nobody knows may nest, as in
// Thrift's own libraries. The depth of known ones is that of their Go types.
const maxDepth = 64

var (
	errShort = errors.New("the input ends too early")
	errDepth = fmt.Errorf("more than %d levels deep", maxDepth)
)

// reader takes values off the input.
type reader struct {
	left []byte
}

// take returns the next n bytes, which are part of the input.
func (r *reader) take(n int) ([]byte, error) {
	if n > len(r.left) {
		return nil, fmt.Errorf("%w: %d bytes wanted, %d left", errShort, n, len(r.left))
	}
	b := r.left[:n:n]
	r.left = r.left[n:]
	return b, nil
}

func (r *reader) wireType() (wireType, error) {
	b, err := r.take(1)
	if err != nil {
		return wireStop, err
	}
	return wireType(b[0]), nil
}

func (r *reader) i16() (int16, error) {
	b, err := r.take(2)
	if err != nil {
		return 0, err
	}
	return int16(binary.BigEndian.Uint16(b)), nil //nolint:gosec // its bits
}

func (r *reader) i32() (int32, error) {
	b, err := r.take(4)
	if err != nil {
		return 0, err
	}
	return int32(binary.BigEndian.Uint32(b)), nil //nolint:gosec // its bits
}

// size reads how many elements follow, each of at least so many bytes.
func (r *reader) size(shortest int) (int, error) {
	n, err := r.i32()
	if err != nil {
		return 0, err
	}
	if n < 0 {
		return 0, fmt.Errorf("the size is %d", n)
	}
	if int(n) > len(r.left)/shortest {
		return 0, fmt.Errorf("%w: %d elements of %d bytes or more, %d bytes left", errShort, n, shortest, len(r.left))
	}
	return int(n), nil
}

// bytes returns the bytes of a string, which are part of the input.
func (r *reader) bytes() ([]byte, error) {
	n, err := r.size(1)
	if err != nil {
		return nil, err
	}
	return r.take(n)
}

func (r *reader) text() (string, error) {
	b, err := r.bytes()
	if err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", errText
	}
	return string(b), nil
}

// skip leaves out a value of which only the type is known.
func (r *reader) skip(t wireType, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	switch t {
	case wireString:
		_, err := r.bytes()
		return err
	case wireStruct:
		return r.skipStruct(depth)
	case wireList, wireSet:
		elem, err := r.wireType()
		if err != nil {
			return err
		}
		return r.skipElements(depth, elem)
	case wireMap:
		b, err := r.take(2)
		if err != nil {
			return err
		}
		return r.skipElements(depth, wireType(b[0]), wireType(b[1]))
	default:
		n, ok := shortest[t]
		if !ok {
			return fmt.Errorf("there is no %s", t)
		}
		_, err := r.take(n)
		return err
	}
}

func (r *reader) skipStruct(depth int) error {
	for {
		t, err := r.wireType()
		if err != nil || t == wireStop {
			return err
		}
		if _, err := r.i16(); err != nil {
			return err
		}
		if err := r.skip(t, depth+1); err != nil {
			return err
		}
	}
}

// skipElements leaves out a size and the elements, each a value of every type.
func (r *reader) skipElements(depth int, types ...wireType) error {
	least := 0
	for _, t := range types {
		least += shortest[t]
	}
	// The types mean nothing when there are no elements.
	n, err := r.size(max(least, 1))
	if err != nil {
		return err
	}
	for range n {
		for _, t := range types {
			if err := r.skip(t, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}
