// Package thrift speaks Thrift's binary protocol: structs from and to bytes,
// messages and frames. It knows nothing of Storm.
//
// A Go struct is its own schema. The tag `thrift:"3"` of a field holds the
// field's id:
//
//	bool, int32, int64, float64   bool, i32, i64, double
//	string, []byte                text in UTF-8, bytes
//	[]T                           list; set with the option "set"
//	[n]T                          list or set of n elements, which makes it a map's key
//	map[K]V                       map
//	struct, *struct               struct
//
// A pointer, slice or map is optional, and nil is "unset", unless the option
// "required" stands in its tag. Everything else is required. A required field
// that is unset is an error of Marshal and of Unmarshal; fields that the struct
// does not have are skipped.
//
// The input may be hostile. It is always there as a whole (a frame, a znode), so
// each size is compared with the bytes that are left before memory is allocated:
// a value takes at most a small multiple of the input's memory.
//
// Why not github.com/apache/thrift: its generator refuses storm.thrift, which
// has maps with lists as keys, so what is left of it is the reading and writing
// of numbers and lengths, about a hundred lines. It reads streams: it knows no
// end of the input to compare a size with, and costs a call by interface, with a
// context, for each number. The bytes of Java's own classes hold this package to
// the format; see package protocol.
package thrift

import (
	"errors"
	"fmt"
	"reflect"
)

// ErrChanged is the error of MarshalChecked for a value that Unmarshal would not
// give back.
var ErrChanged = errors.New("the encoded value does not decode to the same value")

// Marshal encodes a struct, or the struct that a pointer points to. Maps are
// sorted, so that equal values have equal bytes.
func Marshal(v any) ([]byte, error) {
	value := reflect.ValueOf(v)
	if value.Kind() == reflect.Pointer {
		value = value.Elem()
	}
	if value.Kind() != reflect.Struct {
		return nil, fmt.Errorf("encode %T: not a struct", v)
	}
	return planOf(value.Type()).encode(nil, value)
}

// Unmarshal decodes a struct from bytes that hold it and nothing else.
func Unmarshal[T any](b []byte) (T, error) {
	var v T
	r := &reader{left: b}
	err := planOf(reflect.TypeFor[T]()).decode(r, reflect.ValueOf(&v).Elem())
	if err == nil && len(r.left) > 0 {
		err = fmt.Errorf("%T: %d bytes follow it", v, len(r.left))
	}
	if err != nil {
		var none T
		return none, err
	}
	return v, nil
}

// MarshalChecked encodes a struct, decodes the bytes again and compares. Use it
// where a wrong byte does damage.
func MarshalChecked[T any](v T) ([]byte, error) {
	b, err := Marshal(v)
	if err == nil {
		err = Same(b, v)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Same returns an error unless bytes decode to exactly the value. No struct with
// a NaN is the same as itself.
func Same[T any](b []byte, want T) error {
	got, err := Unmarshal[T](b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("%T: %w", want, ErrChanged)
	}
	return nil
}
