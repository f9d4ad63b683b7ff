package sasl

import "net"

// TokenOf is tokenOf.
func TokenOf(request []byte) (identifier, password []byte, err error) {
	t, err := tokenOf(request)
	return t.identifier, t.password, err
}

// Digest is an exchange of DIGEST-MD5.
type Digest struct{ *digest }

// NewDigest is newDigest.
func NewDigest(challenge, user, password, cnonce string, least Level) (Digest, error) {
	d, err := newDigest([]byte(challenge), user, password, cnonce, least)
	return Digest{d}, err
}

// Level is what was agreed on.
func (d Digest) Level() Level { return d.level }

// Response is what the client sends.
func (d Digest) Response() string { return string(d.response()) }

// Verify checks the server's answer.
func (d Digest) Verify(answer string) error { return d.verify([]byte(answer)) }

// Opener opens the frames of a server.
func (d Digest) Opener() func(frame []byte) ([]byte, error) { return d.opener().open }

// Pair protects the two ends of a connection.
func Pair(client, server net.Conn, level Level) (c, s net.Conn) {
	d := &digest{level: level, a1: sum("secret")}
	return &framed{Conn: client, sealer: d.sealer(), opener: d.opener()},
		&framed{Conn: server, sealer: d.opener(), opener: d.sealer()}
}
