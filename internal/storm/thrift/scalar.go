package thrift

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"unicode/utf8"
)

var errText = errors.New("not UTF-8")

var boolPlan = &plan{
	wire: wireBool, min: 1,
	encode: func(dst []byte, v reflect.Value) ([]byte, error) {
		if v.Bool() {
			return append(dst, 1), nil
		}
		return append(dst, 0), nil
	},
	decode: func(r *reader, v reflect.Value) error {
		b, err := r.take(1)
		if err == nil {
			// As Java has it: 1 alone is true.
			v.SetBool(b[0] == 1)
		}
		return err
	},
}

var i32Plan = &plan{
	wire: wireI32, min: 4,
	encode: func(dst []byte, v reflect.Value) ([]byte, error) {
		return binary.BigEndian.AppendUint32(dst, uint32(v.Int())), nil
	},
	decode: func(r *reader, v reflect.Value) error {
		i, err := r.i32()
		v.SetInt(int64(i))
		return err
	},
}

var i64Plan = &plan{
	wire: wireI64, min: 8,
	encode: func(dst []byte, v reflect.Value) ([]byte, error) {
		return binary.BigEndian.AppendUint64(dst, uint64(v.Int())), nil
	},
	decode: func(r *reader, v reflect.Value) error {
		b, err := r.take(8)
		if err == nil {
			v.SetInt(int64(binary.BigEndian.Uint64(b)))
		}
		return err
	},
}

var doublePlan = &plan{
	wire: wireDouble, min: 8,
	encode: func(dst []byte, v reflect.Value) ([]byte, error) {
		return binary.BigEndian.AppendUint64(dst, math.Float64bits(v.Float())), nil
	},
	decode: func(r *reader, v reflect.Value) error {
		b, err := r.take(8)
		if err == nil {
			v.SetFloat(math.Float64frombits(binary.BigEndian.Uint64(b)))
		}
		return err
	},
}

var stringPlan = &plan{
	wire: wireString, min: 4,
	encode: func(dst []byte, v reflect.Value) ([]byte, error) { return appendText(dst, v.String()) },
	decode: func(r *reader, v reflect.Value) error {
		s, err := r.text()
		v.SetString(s)
		return err
	},
}

var bytesPlan = &plan{
	wire: wireString, min: 4,
	encode: func(dst []byte, v reflect.Value) ([]byte, error) {
		dst, err := appendSize(dst, v.Len())
		return append(dst, v.Bytes()...), err
	},
	decode: func(r *reader, v reflect.Value) error {
		b, err := r.bytes()
		if err == nil {
			// Not nil, which is "unset", for no bytes.
			v.SetBytes(append([]byte{}, b...))
		}
		return err
	},
}

func appendText(dst []byte, s string) ([]byte, error) {
	if !utf8.ValidString(s) {
		return nil, errText
	}
	dst, err := appendSize(dst, len(s))
	return append(dst, s...), err
}

func appendSize(dst []byte, n int) ([]byte, error) {
	if n > math.MaxInt32 {
		return nil, fmt.Errorf("a size of %d is more than Thrift has numbers for", n)
	}
	return binary.BigEndian.AppendUint32(dst, uint32(n)), nil //nolint:gosec // not negative, and compared above
}
