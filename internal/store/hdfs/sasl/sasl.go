// Package sasl protects connections to DataNodes as Hadoop's data transfer
// does: by SASL's DIGEST-MD5 (RFC 2831), with a block's token as the password,
// and by the protection that it negotiates for the data.
//
// The HDFS client library has this too, but its Read (digestMD5IntegrityConn
// and digestMD5PrivacyConn, v2.4.0) returns the bytes of the last frame only
// when it was asked for more than the frame before had left. A DataNode sends
// the answer to a read in frames of a few bytes, so no read succeeds with
// integrity or privacy. The library does not export the layer; so the
// library is configured without one, and Guard puts this one under it.
package sasl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Level is a value of dfs.data.transfer.protection; none is "".
type Level string

// The levels: each does what those before it do, too.
const (
	Authentication Level = "authentication"
	Integrity      Level = "integrity"
	Privacy        Level = "privacy"
)

// ErrMismatch is a protection that is not that of the other side. Trying again
// is no cure.
var ErrMismatch = errors.New("the protections of data do not match")

// levels are all of them, the weakest in front.
var levels = []Level{Authentication, Integrity, Privacy}

// qops are SASL's names of the levels.
var qops = map[Level]string{Authentication: "auth", Integrity: "auth-int", Privacy: "auth-conf"}

// choose returns the first of a server's offers that is no weaker than least.
func choose(offers []string, least Level) (Level, error) {
	enough := levels[slices.Index(levels, least):]
	for _, offer := range offers {
		for _, l := range enough {
			if qops[l] == offer {
				return l, nil
			}
		}
	}
	return "", fmt.Errorf("%w: it offers %q, and dfs.data.transfer.protection here asks for %s: make both the same", ErrMismatch, offers, least)
}

// token is what a NameNode gives for the access to a block.
type token struct{ identifier, password []byte }

// Guard returns a connection to a DataNode that is protected by least, which is
// one of the levels, or by more.
// It shakes hands before the first request is sent, with the token in it.
func Guard(c net.Conn, least Level) net.Conn { return &guarded{Conn: c, least: least} }

// guarded is a connection before, and then after the handshake.
type guarded struct {
	net.Conn
	least Level
	done  bool
}

// Write implements net.Conn. The first one has to be a whole request.
func (g *guarded) Write(p []byte) (int, error) {
	if !g.done {
		c, err := g.secure(p)
		if err != nil {
			return 0, fmt.Errorf("SASL handshake with DataNode %s: %w", g.RemoteAddr(), err)
		}
		g.Conn, g.done = c, true
	}
	return g.Conn.Write(p)
}

func (g *guarded) secure(request []byte) (net.Conn, error) {
	t, err := tokenOf(request)
	if err != nil {
		return nil, err
	}
	return handshake(g.Conn, t, g.least)
}

// Numbers of hadoop.hdfs.OpReadBlockProto and OpWriteBlockProto with what they
// have inside, down to hadoop.common.TokenProto.
const (
	fieldHeader     = 1 // of the request
	fieldBaseHeader = 1 // of the header
	fieldToken      = 2 // of the base header
	fieldIdentifier = 1 // of the token
	fieldPassword   = 2
)

// prefix is the length of what comes before a request: two bytes of version, and
// one that tells what it is.
const (
	prefix  = 3
	version = 28
)

// tokenOf takes the token out of a request for a block.
func tokenOf(request []byte) (token, error) {
	if len(request) >= 4 && binary.BigEndian.Uint32(request) == magic {
		// The library shakes hands itself.
		return token{}, fmt.Errorf("%w: the NameNode has dfs.encrypt.data.transfer, and the configuration here does not: set it here, too", ErrMismatch)
	}
	if len(request) < prefix || binary.BigEndian.Uint16(request) != version {
		return token{}, fmt.Errorf("the request is not of version %d of the data transfer protocol", version)
	}
	m, n := protowire.ConsumeBytes(request[prefix:])
	if n < 0 {
		return token{}, protowire.ParseError(n)
	}
	for _, number := range []protowire.Number{fieldHeader, fieldBaseHeader, fieldToken} {
		parsed, err := parse(m)
		if err != nil {
			return token{}, err
		}
		m = parsed.bytes[number]
	}
	parsed, err := parse(m)
	if err != nil {
		return token{}, err
	}
	t := token{parsed.bytes[fieldIdentifier], parsed.bytes[fieldPassword]}
	if len(t.identifier) == 0 {
		return token{}, fmt.Errorf("%w: the NameNode gave no token for the block: dfs.data.transfer.protection needs dfs.block.access.token.enable there", ErrMismatch)
	}
	return t, nil
}

// fields are those of a protobuf message that are numbers or bytes; of a
// repeated one the last.
type fields struct {
	numbers map[protowire.Number]uint64
	bytes   map[protowire.Number][]byte
}

func parse(m []byte) (fields, error) {
	f := fields{make(map[protowire.Number]uint64), make(map[protowire.Number][]byte)}
	for len(m) > 0 {
		number, kind, n := protowire.ConsumeTag(m)
		if n < 0 {
			return f, protowire.ParseError(n)
		}
		m = m[n:]
		if n = protowire.ConsumeFieldValue(number, kind, m); n < 0 {
			return f, protowire.ParseError(n)
		}
		switch kind { //nolint:exhaustive // other kinds are skipped
		case protowire.VarintType:
			f.numbers[number], _ = protowire.ConsumeVarint(m)
		case protowire.BytesType:
			f.bytes[number], _ = protowire.ConsumeBytes(m)
		}
		m = m[n:]
	}
	return f, nil
}
