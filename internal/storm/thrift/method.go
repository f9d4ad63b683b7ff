package thrift

import (
	"fmt"
	"reflect"
)

// Method is a method of a service. Args is a struct with its arguments. Result
// is a struct with the value as field 0, unless there is none, and the declared
// exceptions as pointers that are errors. All fields of Result can be unset.
type Method[Args, Result any] struct {
	Name string
}

// Call encodes a call.
func (m Method[Args, Result]) Call(seq int32, args Args) ([]byte, error) {
	return marshal(KindCall, m.Name, seq, args)
}

// Answer decodes the answer to a call. Its error is the exception that was
// declared or an *ApplicationError, if the other side gave one, and
// ErrNoAnswer for a value that is unset.
func (m Method[Args, Result]) Answer(b []byte, seq int32) (Result, error) {
	result, err := m.answer(b, seq)
	if err != nil {
		var none Result
		return none, fmt.Errorf("%s: %w", m.Name, err)
	}
	return result, nil
}

func (m Method[Args, Result]) answer(b []byte, seq int32) (Result, error) {
	var result Result
	msg, err := ParseMessage(b)
	if err != nil {
		return result, err
	}
	if msg.Kind == KindCall || msg.Method != m.Name || msg.Seq != seq {
		return result, fmt.Errorf("a %s for call %d of %q instead of an answer to call %d", msg.Kind, msg.Seq, msg.Method, seq)
	}
	if msg.Kind == KindException {
		e, err := Unmarshal[ApplicationError](msg.Body)
		if err != nil {
			return result, err
		}
		return result, &e
	}
	if result, err = Unmarshal[Result](msg.Body); err != nil {
		return result, err
	}
	return result, failure(result)
}

// failure returns what a result has in place of a value.
func failure(result any) error {
	v := reflect.ValueOf(result)
	value := error(nil)
	for _, f := range planOf(v.Type()).fields {
		unset := v.Field(f.index).IsNil()
		if f.id == 0 && unset {
			value = ErrNoAnswer
		}
		if e, ok := reflect.TypeAssert[error](v.Field(f.index)); ok && !unset {
			return e
		}
	}
	return value
}

// Args decodes the arguments of a call that arrived.
func (m Method[Args, Result]) Args(call Message) (Args, error) {
	args, err := Unmarshal[Args](call.Body)
	if err == nil && (call.Kind != KindCall || call.Method != m.Name) {
		err = fmt.Errorf("a %s of %q instead of a call", call.Kind, call.Method)
	}
	if err != nil {
		var none Args
		return none, fmt.Errorf("%s: %w", m.Name, err)
	}
	return args, nil
}

// Reply encodes the answer to a call.
func (m Method[Args, Result]) Reply(call Message, result Result) ([]byte, error) {
	return marshal(KindReply, m.Name, call.Seq, result)
}
