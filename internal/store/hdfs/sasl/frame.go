package sasl

import (
	"bytes"
	"crypto/hmac"
	"crypto/rc4" //nolint:gosec // see digest.go
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"slices"
)

// Sizes in bytes. A frame is its length, the data, a code that authenticates
// them, a type that is always 1 and a number that counts the frames.
const (
	lengthSize = 4
	macSize    = 10
	typeSize   = 2
	numberSize = 4
	trailer    = macSize + typeSize + numberSize
	// maxSent are the data of a frame that RFC 2831 lets a receiver expect.
	maxSent = 65536 - trailer
	// maxFrame is above the greatest packet that a DataNode sends, 16 MiB.
	maxFrame = 17 << 20
)

// side is one direction of a protected connection.
type side struct {
	mac hash.Hash
	// cipher is nil with integrity alone.
	cipher *rc4.Cipher
	number uint32
}

// code authenticates data as those of the next frame.
func (s *side) code(data []byte) []byte {
	s.mac.Reset()
	s.mac.Write(binary.BigEndian.AppendUint32(nil, s.number))
	s.mac.Write(data)
	return s.mac.Sum(nil)[:macSize]
}

// tail is the end of the next frame.
func (s *side) tail() []byte { return binary.BigEndian.AppendUint32([]byte{0, 1}, s.number) }

// seal returns data as a frame, without the length.
func (s *side) seal(data []byte) []byte {
	frame := append(slices.Grow(bytes.Clone(data), trailer), s.code(data)...)
	if s.cipher != nil {
		s.cipher.XORKeyStream(frame, frame)
	}
	frame = append(frame, s.tail()...)
	s.number++
	return frame
}

// open returns the data of a frame, which it overwrites.
func (s *side) open(frame []byte) ([]byte, error) {
	if len(frame) < trailer {
		return nil, fmt.Errorf("a frame of %d bytes, want at least %d", len(frame), trailer)
	}
	sealed, tail := frame[:len(frame)-typeSize-numberSize], frame[len(frame)-typeSize-numberSize:]
	if s.cipher != nil {
		s.cipher.XORKeyStream(sealed, sealed)
	}
	data, code := sealed[:len(sealed)-macSize], sealed[len(sealed)-macSize:]
	if !hmac.Equal(code, s.code(data)) || !bytes.Equal(tail, s.tail()) {
		return nil, errors.New("a frame was changed on its way")
	}
	s.number++
	return data, nil
}

// framed is a connection whose bytes go in frames. It can be read and written
// at the same time.
type framed struct {
	net.Conn
	sealer, opener *side
	// buffer is of the frame that was read last, and rest what is left of it.
	buffer, rest []byte
}

// Read implements net.Conn; it returns no more than what one frame has left.
func (f *framed) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(f.rest) == 0 {
		if err := f.next(); errors.Is(err, io.EOF) {
			return 0, io.EOF
		} else if err != nil {
			return 0, fmt.Errorf("read from DataNode %s: %w", f.RemoteAddr(), err)
		}
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// next reads a frame; its error is io.EOF where there is none.
func (f *framed) next() error {
	var length [lengthSize]byte
	if _, err := io.ReadFull(f.Conn, length[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(length[:])
	if size > maxFrame {
		return fmt.Errorf("a frame of %d bytes, want at most %d", size, maxFrame)
	}
	f.buffer = slices.Grow(f.buffer[:0], int(size))[:size]
	_, err := io.ReadFull(f.Conn, f.buffer)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	if err == nil {
		f.rest, err = f.opener.open(f.buffer)
	}
	return err
}

// Write implements net.Conn.
func (f *framed) Write(p []byte) (n int, err error) {
	for piece := range slices.Chunk(p, maxSent) {
		frame := f.sealer.seal(piece)
		frame = append(binary.BigEndian.AppendUint32(make([]byte, 0, lengthSize+len(frame)), uint32(len(frame))), frame...) //nolint:gosec // below 65536
		if _, err := f.Conn.Write(frame); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}
