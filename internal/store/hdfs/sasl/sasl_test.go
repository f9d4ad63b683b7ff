package sasl_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/stormcell/stormcell/internal/store/hdfs/sasl"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t *testing.T, err error, says string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("error %v, want one that says %q", err, says)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	check(t, err)
	return b
}

// The exchange of a client with a DataNode of Hadoop that takes AES, as the HDFS
// library's test TestDigestMD5Conn has it.
const (
	challenge = `realm="0",nonce="8iQSCAmYohP0K4dBX4Z2cxYC4CFJjfVp3aATEHNN",qop="auth-conf",charset=utf-8,cipher="3des,rc4,des,rc4-56,rc4-40",algorithm=md5-sess`
	user      = "388373981 BP-529865118-10.129.176.136-1582635112897 eQzDpjF/W9c="
	cnonce    = "dqNZ/hGooPsuK3iWPeDFeQ=="
	answer    = "rspauth=830abc648a95a91e9ff1d594cdbca222"
)

func password(t *testing.T) string {
	t.Helper()
	return base64.StdEncoding.EncodeToString(unhex(t, "4dedaad4f0f8ec7dfdf776afbc93ba8ed1c3b3b7"))
}

func TestExchange(t *testing.T) {
	d, err := sasl.NewDigest(challenge, user, password(t), cnonce, sasl.Integrity)
	check(t, err)
	for _, part := range []string{"response=c4669d46e21197923d3e98e53e6dd543", `username="` + user + `"`, "qop=auth-conf", "nc=00000001", `cipher="rc4"`} {
		if !slices.Contains(strings.Split(d.Response(), ","), part) {
			t.Errorf("response %s, want %s in it", d.Response(), part)
		}
	}
	check(t, d.Verify(answer))
	wantError(t, d.Verify(strings.Replace(answer, "8", "9", 1)), "does not accept the block's token")
	open := d.Opener()
	for _, c := range []struct{ frame, key string }{
		{"bb5ecf3255e7595be5f9d7d21e29b8eb04938b7458bd77798ffdf2e3b9bd70a73bbcf4a2f3a18a51833e000100000000", "7b91b66660abff8c8048e20cef240cc90bc5d792149c6feab9121a48c4855f43"},
		{"635062fe18edb9f62792456fa6dc9c6e715e4acb9297a4cba156e34f255dfbd1658112e5d9e0123353ef000100000001", "e6fb59b17ed7df113af3ac62efc0863d92747dd93faebc62f2b5687b106fa353"},
	} {
		if key, err := open(unhex(t, c.frame)); !bytes.Equal(key, unhex(t, c.key)) || err != nil {
			t.Errorf("%x, %v, want the key %s", key, err, c.key)
		}
	}
}

func TestChoice(t *testing.T) {
	for _, c := range []struct {
		name, offers string
		least, want  sasl.Level
		err          string
	}{
		{"what both have", "auth-int", sasl.Integrity, sasl.Integrity, ""},
		{"more than was asked for", "auth-conf", sasl.Authentication, sasl.Privacy, ""},
		{"the server's order", "auth,auth-int,auth-conf", sasl.Authentication, sasl.Authentication, ""},
		{"an offer that is too weak is passed over", "auth,auth-int,auth-conf", sasl.Privacy, sasl.Privacy, ""},
		{"nothing that is strong enough", "auth,auth-int", sasl.Privacy, "", "asks for privacy"},
		{"unknown offers", "auth-quantum", sasl.Authentication, "", "auth-quantum"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := sasl.NewDigest(`nonce="x",cipher="rc4",qop="`+c.offers+`"`, "u", "p", "c", c.least)
			if c.err != "" {
				wantError(t, err, c.err)
				return
			}
			check(t, err)
			if d.Level() != c.want {
				t.Errorf("%s, want %s", d.Level(), c.want)
			}
		})
	}
	_, err := sasl.NewDigest(`nonce="x",cipher="des,3des",qop="auth-conf"`, "u", "p", "c", sasl.Privacy)
	wantError(t, err, "3des")
	_, err = sasl.NewDigest("no challenge", "u", "p", "c", sasl.Privacy)
	wantError(t, err, "no challenge")
}

var framing = []sasl.Level{sasl.Integrity, sasl.Privacy}

// Reads that go over the end of a frame lose nothing, whatever their sizes.
func TestReadsAcrossFrames(t *testing.T) {
	content := make([]byte, 200_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content)
	for _, level := range framing {
		t.Run(string(level), func(t *testing.T) {
			here, there := connect(t)
			client, server := sasl.Pair(here, there, level)
			go func() {
				defer server.Close()
				for rest, n := content, 1; len(rest) > 0; n = 3*n + 1 {
					n = min(n, len(rest))
					if m, err := server.Write(rest[:n]); m != n || err != nil {
						t.Errorf("wrote %d of %d bytes, %v", m, n, err)
					}
					rest = rest[n:]
				}
			}()
			var got []byte
			for size := 1; len(got) < len(content); size = 2*size + 3 {
				p := make([]byte, min(size, len(content)-len(got)))
				n, err := io.ReadFull(client, p)
				if got = append(got, p[:n]...); err != nil {
					t.Fatalf("after %d bytes: %v", len(got), err)
				}
			}
			if !bytes.Equal(got, content) {
				t.Error("the bytes are not those that were written")
			}
		})
	}
}

func connect(t *testing.T) (client, server net.Conn) {
	t.Helper()
	client, server = net.Pipe()
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// sealed returns the frames of messages, with their lengths.
func sealed(t *testing.T, level sasl.Level, messages ...string) []byte {
	t.Helper()
	end, wire := connect(t)
	_, server := sasl.Pair(nil, end, level)
	go func() {
		defer end.Close()
		for _, m := range messages {
			_, _ = io.WriteString(server, m)
		}
	}()
	b, err := io.ReadAll(wire)
	check(t, err)
	return b
}

// receive returns what a client reads of these bytes.
func receive(t *testing.T, level sasl.Level, b []byte) (string, error) {
	t.Helper()
	end, wire := connect(t)
	client, _ := sasl.Pair(end, nil, level)
	go func() {
		defer wire.Close()
		_, _ = wire.Write(b)
	}()
	got, err := io.ReadAll(client)
	return string(got), err
}

func TestChangedFrames(t *testing.T) {
	for _, level := range framing {
		t.Run(string(level), func(t *testing.T) {
			first := sealed(t, level, "some data")
			both := sealed(t, level, "some data", "and more")
			if got, err := receive(t, level, both); got != "some dataand more" || err != nil {
				t.Fatalf("%q, %v of frames in order", got, err)
			}
			for i := 4; i < len(first); i++ {
				changed := bytes.Clone(first)
				changed[i] ^= 4
				if got, err := receive(t, level, changed); got != "" || err == nil || !strings.Contains(err.Error(), "changed on its way") {
					t.Errorf("byte %d of the frame changed: %q, %v", i, got, err)
				}
			}
			_, err := receive(t, level, both[len(first):])
			wantError(t, err, "changed on its way") // one is missing
			_, err = receive(t, level, slices.Concat(first, first))
			wantError(t, err, "changed on its way") // one comes twice
			_, err = receive(t, level, first[:len(first)-1])
			wantError(t, err, io.ErrUnexpectedEOF.Error())
			_, err = receive(t, level, []byte{0, 0, 0, 3, 1, 2, 3})
			wantError(t, err, "a frame of 3 bytes")
			_, err = receive(t, level, []byte{255, 255, 255, 255})
			wantError(t, err, "want at most")
		})
	}
}

// message is a protobuf message of one field.
func message(number protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), content)
}

// request is one for a block, with a token.
func request(token []byte) []byte {
	return append([]byte{0, 28, 81}, protowire.AppendBytes(nil, message(1, message(1, message(2, token))))...)
}

func goodRequest() []byte {
	return request(slices.Concat(message(1, []byte("id")), message(2, []byte("pw"))))
}

func TestTokenOfRequest(t *testing.T) {
	id, pw, err := sasl.TokenOf(goodRequest())
	if string(id) != "id" || string(pw) != "pw" || err != nil {
		t.Errorf("%q, %q, %v, want the token", id, pw, err)
	}
	for _, c := range []struct {
		name    string
		request []byte
		says    string
	}{
		{"no token", request(nil), "dfs.block.access.token.enable"},
		{"another version", []byte{0, 29, 81, 0}, "version 28"},
		{"a handshake of the library", []byte{0xDE, 0xAD, 0xBE, 0xEF, 0}, "dfs.encrypt.data.transfer"},
		{"nothing", nil, "version 28"},
		{"half a request", goodRequest()[:9], "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := sasl.TokenOf(c.request)
			wantError(t, err, c.says)
		})
	}
}

func FuzzTokenOf(f *testing.F) {
	f.Add(goodRequest())
	f.Fuzz(func(t *testing.T, request []byte) {
		if id, _, err := sasl.TokenOf(request); err == nil && len(id) == 0 {
			t.Error("no token, and no error")
		}
	})
}

// A DataNode that does not do its part is told of, and gets no request.
func TestRefusedHandshake(t *testing.T) {
	refusal := slices.Concat([]byte{1 << 3, 2}, message(3, []byte("token is expired")))
	weak := slices.Concat([]byte{1 << 3, 0}, message(2, []byte(`nonce="x",qop="auth"`)))
	for _, c := range []struct {
		name   string
		answer []byte
		says   string
	}{
		{"refuses", protowire.AppendBytes(nil, refusal), "token is expired"},
		{"offers too little", protowire.AppendBytes(nil, weak), "asks for privacy"},
		{"hangs up", nil, "EOF"},
		{"sends too much", protowire.AppendVarint(nil, 1<<40), "want at most"},
		{"sends no protobuf", []byte{1, 255}, "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := connect(t)
			heard := make(chan []byte, 1)
			go func() {
				hello := make([]byte, 7) // 0xDEADBEEF and a message of two bytes
				_, _ = io.ReadFull(server, hello)
				_, _ = server.Write(c.answer)
				heard <- hello
				server.Close()
			}()
			n, err := sasl.Guard(client, sasl.Privacy).Write(goodRequest())
			if wantError(t, err, c.says); n != 0 {
				t.Errorf("%d bytes written", n)
			}
			if hello := <-heard; !bytes.Equal(hello, []byte{0xDE, 0xAD, 0xBE, 0xEF, 2, 8, 0}) {
				t.Errorf("the handshake begins with %x", hello)
			}
		})
	}
}
