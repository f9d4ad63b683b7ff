package thrift

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// Kind is what a message is.
type Kind byte

// The kinds of messages. Storm has no calls without an answer.
const (
	KindCall      Kind = 1
	KindReply     Kind = 2
	KindException Kind = 3
)

func (k Kind) String() string {
	names := map[Kind]string{KindCall: "call", KindReply: "reply", KindException: "exception"}
	if name, ok := names[k]; ok {
		return name
	}
	return "kind " + strconv.Itoa(int(k))
}

// version is how a message begins; the last byte is its kind. Java's clients and
// servers write it always ("strict").
const version = 0x80010000

// Message is a call or an answer.
type Message struct {
	Kind   Kind
	Method string
	// Seq is chosen by the caller, and the same in the answer.
	Seq int32
	// Body is a struct: arguments, result or ApplicationError.
	Body []byte
}

// ParseMessage reads what a frame holds. The body is a part of it.
func ParseMessage(b []byte) (Message, error) {
	m, err := parseMessage(&reader{left: b})
	if err != nil {
		return Message{}, fmt.Errorf("message: %w", err)
	}
	return m, nil
}

func parseMessage(r *reader) (Message, error) {
	head, err := r.i32()
	if err != nil {
		return Message{}, err
	}
	bits := uint32(head) //nolint:gosec // its bits
	m := Message{Kind: Kind(bits & 0xff)}
	if bits&^0xff != version || m.Kind < KindCall || m.Kind > KindException {
		return Message{}, fmt.Errorf("begins with %08x: not Thrift's binary protocol, or an old one", bits)
	}
	if m.Method, err = r.text(); err != nil {
		return Message{}, fmt.Errorf("method: %w", err)
	}
	if m.Seq, err = r.i32(); err != nil {
		return Message{}, fmt.Errorf("sequence number: %w", err)
	}
	m.Body = r.left
	return m, nil
}

// marshal encodes a message with a struct as its body.
func marshal(kind Kind, method string, seq int32, body any) ([]byte, error) {
	b := binary.BigEndian.AppendUint32(nil, version|uint32(kind))
	b, err := appendText(b, method)
	if err != nil {
		return nil, err
	}
	b = binary.BigEndian.AppendUint32(b, uint32(seq)) //nolint:gosec // its bits
	content, err := Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return append(b, content...), nil
}

// The codes of an ApplicationError that Java's servers give.
const (
	UnknownMethod int32 = 1
	InternalError int32 = 6
	ProtocolError int32 = 7
)

// ApplicationError is a TApplicationException: an answer that the method does not
// declare.
type ApplicationError struct {
	Message *string `thrift:"1"`
	Code    *int32  `thrift:"2"`
}

// NewApplicationError returns the error with a code and a message.
func NewApplicationError(code int32, message string) *ApplicationError {
	return &ApplicationError{Message: &message, Code: &code}
}

func (e *ApplicationError) Error() string {
	message, code := "no message", int32(0)
	if e.Message != nil {
		message = *e.Message
	}
	if e.Code != nil {
		code = *e.Code
	}
	return fmt.Sprintf("the other side's exception %d: %s", code, message)
}

// Refuse answers a call with an exception.
func (m Message) Refuse(e *ApplicationError) ([]byte, error) {
	return marshal(KindException, m.Method, m.Seq, e)
}

// ErrNoAnswer is the error of a call whose result is neither a value nor an
// exception. Java answers so when a method returns null: "I do not know", never
// "there are none".
var ErrNoAnswer = errors.New("answered with neither a result nor an exception")
