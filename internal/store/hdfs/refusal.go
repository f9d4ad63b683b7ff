package hdfs

import (
	"bufio"
	"encoding/binary"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// refusal is a NameNode's word that it does not speak with us at all. The
// library takes it for an answer out of turn and drops what it says.
type refusal struct{ exception, message string }

func (r *refusal) Error() string {
	line, _, _ := strings.Cut(r.message, "\n")
	return r.exception + ": " + line
}

// Numbers of hadoop.common.RpcResponseHeaderProto.
const (
	fieldStatus    = 2
	fieldException = 4
	fieldMessage   = 5
	statusFatal    = 2
)

// peekRefusal looks, without taking it, at the first answer on a connection:
// four bytes with its length, and a header with its length in front.
func peekRefusal(r *bufio.Reader) error {
	prefix, err := r.Peek(4)
	if err != nil {
		return nil //nolint:nilerr // the read that follows reports it
	}
	size := min(int64(binary.BigEndian.Uint32(prefix)), int64(r.Size()-4))
	packet, err := r.Peek(4 + int(size))
	if err != nil {
		return nil //nolint:nilerr // the read that follows reports it
	}
	header, n := protowire.ConsumeBytes(packet[4:])
	if n < 0 {
		return nil // longer than the buffer: no refusal is
	}
	if refused := parseRefusal(header); refused != nil {
		return refused
	}
	return nil
}

// parseRefusal returns nil for a header that tells of no fatal error.
func parseRefusal(header []byte) *refusal {
	r, fatal := new(refusal), false
	for len(header) > 0 {
		number, kind, n := protowire.ConsumeTag(header)
		if n < 0 {
			return nil
		}
		header = header[n:]
		switch {
		case number == fieldStatus && kind == protowire.VarintType:
			status, _ := protowire.ConsumeVarint(header)
			fatal = status == statusFatal
		case number == fieldException && kind == protowire.BytesType:
			r.exception, _ = protowire.ConsumeString(header)
		case number == fieldMessage && kind == protowire.BytesType:
			r.message, _ = protowire.ConsumeString(header)
		}
		if n = protowire.ConsumeFieldValue(number, kind, header); n < 0 {
			return nil
		}
		header = header[n:]
	}
	if !fatal {
		return nil
	}
	return r
}
