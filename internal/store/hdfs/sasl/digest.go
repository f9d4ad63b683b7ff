package sasl

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // RFC 2831 is made of it
	"crypto/rand"
	"crypto/rc4" //nolint:gosec // the strongest cipher of RFC 2831 that Hadoop offers beside AES
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// uri is what Hadoop's DataNodes call themselves.
const uri = "hdfs/0"

// digest is one exchange of DIGEST-MD5 (RFC 2831), of the client.
type digest struct {
	user, realm, nonce, cnonce string
	level                      Level
	// cipher is that of the frames with privacy, "" without.
	cipher string
	// a1 is RFC 2831's H(A1), from which all keys are made.
	a1 []byte
}

var directive = regexp.MustCompile(`([a-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^,"]*))`)

// directives are the pairs of a challenge.
func directives(challenge []byte) map[string]string {
	found := make(map[string]string)
	for _, m := range directive.FindAllStringSubmatch(string(challenge), -1) {
		found[m[1]] = m[2] + m[3]
	}
	return found
}

// newDigest answers a challenge for a user with a password.
func newDigest(challenge []byte, user, password, cnonce string, least Level) (*digest, error) {
	said := directives(challenge)
	if said["nonce"] == "" {
		return nil, fmt.Errorf("%.100q is no challenge of DIGEST-MD5", challenge)
	}
	level, err := choose(strings.Split(said["qop"], ","), least)
	if err != nil {
		return nil, err
	}
	d := &digest{user: user, realm: said["realm"], nonce: said["nonce"], cnonce: cnonce, level: level}
	if level == Privacy {
		d.cipher = "rc4"
		if ciphers := strings.Split(said["cipher"], ","); !slices.Contains(ciphers, d.cipher) {
			return nil, fmt.Errorf("%w: it offers the ciphers %q, and only rc4 is supported here", ErrMismatch, ciphers)
		}
	}
	secret := sum(user + ":" + d.realm + ":" + password)
	d.a1 = sum(string(secret) + ":" + d.nonce + ":" + cnonce)
	return d, nil
}

// newNonce returns a client's part of a challenge.
func newNonce() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails
	return base64.StdEncoding.EncodeToString(b)
}

// response is what is sent to the server.
func (d *digest) response() []byte {
	r := fmt.Sprintf(`charset=utf-8,username="%s",realm="%s",nonce="%s",nc=00000001,cnonce="%s",digest-uri="%s",response=%s,qop=%s`,
		d.user, d.realm, d.nonce, d.cnonce, uri, d.value("AUTHENTICATE"), qops[d.level])
	if d.cipher != "" {
		r += `,cipher="` + d.cipher + `"`
	}
	return []byte(r)
}

// verify checks that the server knows the password, too.
func (d *digest) verify(answer []byte) error {
	want := []byte("rspauth=" + d.value(""))
	if subtle.ConstantTimeCompare(answer, want) != 1 {
		return errors.New("it does not accept the block's token: it is no DataNode of this HDFS, or its keys are out of date")
	}
	return nil
}

// value is RFC 2831's response-value, of the client or the server.
func (d *digest) value(method string) string {
	a2 := method + ":" + uri
	if d.level != Authentication {
		a2 += ":00000000000000000000000000000000"
	}
	return hexSum(strings.Join([]string{hex.EncodeToString(d.a1), d.nonce, "00000001", d.cnonce, qops[d.level], hexSum(a2)}, ":"))
}

// sealer and opener protect what the client sends and what the server does.
func (d *digest) sealer() *side { return d.side("client-to-server") }
func (d *digest) opener() *side { return d.side("server-to-client") }

func (d *digest) side(direction string) *side {
	s := &side{mac: hmac.New(md5.New, sum(string(d.a1)+"Digest session key to "+direction+" signing key magic constant"))}
	if d.level == Privacy {
		key := sum(string(d.a1) + "Digest H(A1) to " + direction + " sealing key magic constant")
		s.cipher, _ = rc4.NewCipher(key) //nolint:gosec // see the import; the key has a good length
	}
	return s
}

func sum(s string) []byte {
	b := md5.Sum([]byte(s)) //nolint:gosec // see the import
	return b[:]
}

func hexSum(s string) string { return hex.EncodeToString(sum(s)) }
