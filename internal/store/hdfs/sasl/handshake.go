package sasl

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"google.golang.org/protobuf/encoding/protowire"
)

// magic is what a connection begins with that wants SASL.
const magic = 0xDEADBEEF

// Numbers of hadoop.hdfs.DataTransferEncryptorMessageProto, and of the
// CipherOptionProto in it.
const (
	fieldStatus  = 1
	fieldPayload = 2
	fieldMessage = 3
	fieldOption  = 4

	fieldSuite  = 1
	fieldInKey  = 2
	fieldInIV   = 3
	fieldOutKey = 4
	fieldOutIV  = 5

	suiteAES = 2 // AES_CTR_NOPADDING
)

// maxMessage bounds a message of the handshake, in bytes.
const maxMessage = 64 << 10

// handshake shows a DataNode the token and returns the connection as the two
// agreed to protect it.
func handshake(c net.Conn, t token, least Level) (net.Conn, error) {
	if _, err := c.Write(binary.BigEndian.AppendUint32(nil, magic)); err != nil {
		return nil, err
	}
	if err := send(c, nil, false); err != nil {
		return nil, err
	}
	challenge, err := receive(c)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: is dfs.data.transfer.protection set there, too?", err)
	}
	if err != nil {
		return nil, err
	}
	user := base64.StdEncoding.EncodeToString(t.identifier)
	password := base64.StdEncoding.EncodeToString(t.password)
	d, err := newDigest(challenge.bytes[fieldPayload], user, password, newNonce(), least)
	if err != nil {
		return nil, err
	}
	if err := send(c, d.response(), d.level == Privacy); err != nil {
		return nil, err
	}
	final, err := receive(c)
	if err != nil {
		return nil, err
	}
	if err := d.verify(final.bytes[fieldPayload]); err != nil {
		return nil, err
	}
	return protect(c, d, final.bytes[fieldOption])
}

// protect wraps the connection. A DataNode that takes AES sends option, which
// has the keys.
func protect(c net.Conn, d *digest, option []byte) (net.Conn, error) {
	if d.level == Authentication {
		return c, nil
	}
	f := &framed{Conn: c, sealer: d.sealer(), opener: d.opener()}
	if d.level != Privacy || len(option) == 0 {
		return f, nil
	}
	o, err := parse(option)
	if err != nil {
		return nil, err
	}
	if suite := o.numbers[fieldSuite]; suite != suiteAES {
		return nil, fmt.Errorf("it chose cipher suite %d, which was not offered", suite)
	}
	var streams [2]cipher.Stream
	for i, at := range [][2]protowire.Number{{fieldInKey, fieldInIV}, {fieldOutKey, fieldOutIV}} {
		key, err := f.opener.open(o.bytes[at[0]])
		if err != nil {
			return nil, err
		}
		if streams[i], err = newStream(key, o.bytes[at[1]]); err != nil {
			return nil, err
		}
	}
	// In and out are the DataNode's.
	return &encrypted{c, cipher.StreamWriter{S: streams[0], W: c}, cipher.StreamReader{S: streams[1], R: c}}, nil
}

func newStream(key, iv []byte) (cipher.Stream, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if len(iv) != aes.BlockSize {
		return nil, fmt.Errorf("an initialization vector of %d bytes, want %d", len(iv), aes.BlockSize)
	}
	return cipher.NewCTR(block, iv), nil
}

// encrypted is a connection whose bytes are encrypted by AES.
type encrypted struct {
	net.Conn
	writer cipher.StreamWriter
	reader cipher.StreamReader
}

// Read implements net.Conn.
func (e *encrypted) Read(p []byte) (int, error) { return e.reader.Read(p) }

// Write implements net.Conn.
func (e *encrypted) Write(p []byte) (int, error) { return e.writer.Write(p) }

// send sends one message of the handshake, with an offer of AES where it is
// wanted.
func send(c net.Conn, payload []byte, offer bool) error {
	m := protowire.AppendVarint(protowire.AppendTag(nil, fieldStatus, protowire.VarintType), 0)
	if payload != nil {
		m = protowire.AppendBytes(protowire.AppendTag(m, fieldPayload, protowire.BytesType), payload)
	}
	if offer {
		suite := protowire.AppendVarint(protowire.AppendTag(nil, fieldSuite, protowire.VarintType), suiteAES)
		m = protowire.AppendBytes(protowire.AppendTag(m, fieldOption, protowire.BytesType), suite)
	}
	_, err := c.Write(protowire.AppendBytes(nil, m))
	return err
}

// receive reads one message of the handshake, and no byte after it.
func receive(c net.Conn) (fields, error) {
	size, err := binary.ReadUvarint(singly{c})
	if err != nil {
		return fields{}, err
	}
	if size > maxMessage {
		return fields{}, fmt.Errorf("a message of %d bytes, want at most %d", size, maxMessage)
	}
	m := make([]byte, size)
	if _, err := io.ReadFull(c, m); err != nil {
		return fields{}, err
	}
	f, err := parse(m)
	if err != nil {
		return fields{}, err
	}
	if status := f.numbers[fieldStatus]; status != 0 {
		return fields{}, fmt.Errorf("it refuses the block's token (status %d): %s", status, f.bytes[fieldMessage])
	}
	return f, nil
}

// singly reads byte by byte.
type singly struct{ io.Reader }

// ReadByte implements io.ByteReader.
func (s singly) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(s.Reader, b[:])
	return b[0], err
}
