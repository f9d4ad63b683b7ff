package thrift

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
)

// errUnset is the error of a required field without a value.
var errUnset = errors.New("required, but unset")

func structPlan(t reflect.Type) *plan {
	fields := fieldsOf(t)
	p := &plan{wire: wireStruct, min: 1, fields: fields}
	for _, f := range fields {
		if f.required {
			p.min += 3 + f.min
		}
	}
	p.encode = func(dst []byte, v reflect.Value) ([]byte, error) { return encodeStruct(dst, fields, v) }
	p.decode = func(r *reader, v reflect.Value) error { return decodeStruct(r, t, fields, v) }
	return p
}

func encodeStruct(dst []byte, fields []field, v reflect.Value) ([]byte, error) {
	for i := range fields {
		f, value := &fields[i], v.Field(fields[i].index)
		if canBeUnset(value.Type()) && value.IsNil() {
			if f.required {
				return nil, fmt.Errorf("%s: %w", f.name, errUnset)
			}
			continue
		}
		dst = append(dst, byte(f.wire))
		dst = binary.BigEndian.AppendUint16(dst, uint16(f.id)) //nolint:gosec // its bits
		var err error
		if dst, err = f.encode(dst, value); err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return append(dst, byte(wireStop)), nil
}

func decodeStruct(r *reader, t reflect.Type, fields []field, v reflect.Value) error {
	set := make([]bool, len(fields))
	for {
		wire, err := r.wireType()
		if err != nil {
			return fmt.Errorf("%s: %w", t.Name(), err)
		}
		if wire == wireStop {
			break
		}
		id, err := r.i16()
		if err != nil {
			return fmt.Errorf("%s: %w", t.Name(), err)
		}
		i, known := slices.BinarySearchFunc(fields, id, func(f field, id int16) int { return int(f.id) - int(id) })
		if !known {
			if err := r.skip(wire, 1); err != nil {
				return fmt.Errorf("%s: unknown field %d: %w", t.Name(), id, err)
			}
			continue
		}
		if err := fields[i].read(r, wire, v); err != nil {
			return fmt.Errorf("%s: %w", fields[i].name, err)
		}
		set[i] = true
	}
	for i, f := range fields {
		if f.required && !set[i] {
			return fmt.Errorf("%s: %w", f.name, errUnset)
		}
	}
	return nil
}

// read sets one field of a struct. Of a field that comes twice the last one
// counts, as in Java.
func (f *field) read(r *reader, wire wireType, v reflect.Value) error {
	if wire != f.wire {
		return fmt.Errorf("%s instead of %s: written by another version of Storm?", wire, f.wire)
	}
	value := v.Field(f.index)
	value.SetZero()
	return f.decode(r, value)
}

func pointerPlan(t reflect.Type) *plan {
	p := *valuePlan(t.Elem(), false)
	encode, decode := p.encode, p.decode
	p.encode = func(dst []byte, v reflect.Value) ([]byte, error) { return encode(dst, v.Elem()) }
	p.decode = func(r *reader, v reflect.Value) error {
		v.Set(reflect.New(t.Elem()))
		return decode(r, v.Elem())
	}
	return &p
}

// elementPlan is for what is in lists, sets and maps: nothing of it can be unset.
func elementPlan(t reflect.Type) *plan {
	if t.Kind() == reflect.Pointer {
		panic(fmt.Sprintf("thrift: a collection of %s", t))
	}
	return valuePlan(t, false)
}

func listPlan(t reflect.Type, set bool) *plan {
	elem := elementPlan(t.Elem())
	p := &plan{wire: wireList, min: shortest[wireList]}
	if set {
		p.wire = wireSet
	}
	p.encode = func(dst []byte, v reflect.Value) ([]byte, error) {
		dst, err := appendSize(append(dst, byte(elem.wire)), v.Len())
		for i := 0; err == nil && i < v.Len(); i++ {
			dst, err = elem.encode(dst, v.Index(i))
		}
		return dst, err
	}
	p.decode = func(r *reader, v reflect.Value) error {
		n, err := elements(r, elem)
		if err != nil {
			return err
		}
		if v.Kind() == reflect.Slice {
			v.Set(reflect.MakeSlice(t, n, n))
		} else if n != v.Len() {
			return fmt.Errorf("%d elements instead of %d", n, v.Len())
		}
		for i := range n {
			if err := elem.decode(r, v.Index(i)); err != nil {
				return fmt.Errorf("element %d: %w", i, err)
			}
		}
		return nil
	}
	return p
}

func mapPlan(t reflect.Type) *plan {
	key, elem := elementPlan(t.Key()), elementPlan(t.Elem())
	p := &plan{wire: wireMap, min: shortest[wireMap]}
	p.encode = func(dst []byte, v reflect.Value) ([]byte, error) {
		dst, err := appendSize(append(dst, byte(key.wire), byte(elem.wire)), v.Len())
		if err != nil {
			return nil, err
		}
		return encodeEntries(dst, key, elem, v)
	}
	p.decode = func(r *reader, v reflect.Value) error {
		n, err := elements(r, key, elem)
		if err != nil {
			return err
		}
		v.Set(reflect.MakeMapWithSize(t, n))
		k, e := reflect.New(t.Key()).Elem(), reflect.New(t.Elem()).Elem()
		for i := range n {
			// The map has copies of them.
			k.SetZero()
			e.SetZero()
			if err := key.decode(r, k); err != nil {
				return fmt.Errorf("key %d: %w", i, err)
			}
			if err := elem.decode(r, e); err != nil {
				return fmt.Errorf("value %d: %w", i, err)
			}
			v.SetMapIndex(k, e)
		}
		return nil
	}
	return p
}

// encodeEntries sorts entries by their keys' bytes.
func encodeEntries(dst []byte, key, elem *plan, v reflect.Value) ([]byte, error) {
	type entry struct {
		key  []byte
		elem reflect.Value
	}
	entries := make([]entry, 0, v.Len())
	for it := v.MapRange(); it.Next(); {
		k, err := key.encode(nil, it.Key())
		if err != nil {
			return nil, fmt.Errorf("a key: %w", err)
		}
		entries = append(entries, entry{k, it.Value()})
	}
	slices.SortFunc(entries, func(a, b entry) int { return bytes.Compare(a.key, b.key) })
	for _, e := range entries {
		var err error
		if dst, err = elem.encode(append(dst, e.key...), e.elem); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

// elements reads the head of a collection whose elements are a value of each
// plan: their types and their number.
func elements(r *reader, plans ...*plan) (int, error) {
	types, err := r.take(len(plans))
	if err != nil {
		return 0, err
	}
	least := 0
	for _, p := range plans {
		least += p.min
	}
	n, err := r.size(least)
	if err != nil {
		return 0, err
	}
	for i, p := range plans {
		// An empty collection may be one of any type.
		if got := wireType(types[i]); n > 0 && got != p.wire {
			return 0, fmt.Errorf("elements are %s instead of %s", got, p.wire)
		}
	}
	return n, nil
}
