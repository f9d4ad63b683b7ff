package thrift

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// wireType is a type as its byte on the wire.
type wireType byte

const (
	wireStop   wireType = 0
	wireBool   wireType = 2
	wireByte   wireType = 3
	wireDouble wireType = 4
	wireI16    wireType = 6
	wireI32    wireType = 8
	wireI64    wireType = 10
	wireString wireType = 11
	wireStruct wireType = 12
	wireMap    wireType = 13
	wireSet    wireType = 14
	wireList   wireType = 15
)

// shortest is the fewest bytes that a value takes up; types that are not in it
// do not exist.
var shortest = map[wireType]int{
	wireBool: 1, wireByte: 1, wireDouble: 8, wireI16: 2, wireI32: 4, wireI64: 8,
	wireString: 4, wireStruct: 1, wireMap: 6, wireSet: 5, wireList: 5,
}

func (t wireType) String() string {
	names := map[wireType]string{
		wireBool: "bool", wireByte: "byte", wireDouble: "double", wireI16: "i16", wireI32: "i32", wireI64: "i64",
		wireString: "string", wireStruct: "struct", wireMap: "map", wireSet: "set", wireList: "list",
	}
	if name, ok := names[t]; ok {
		return name
	}
	return "type " + strconv.Itoa(int(t))
}

// plan is how values of one Go type are encoded and decoded.
type plan struct {
	wire wireType
	// min is the fewest bytes of a value that decode takes.
	min int
	// fields are those of a struct, sorted by id.
	fields []field
	encode func(dst []byte, v reflect.Value) ([]byte, error)
	// decode sets a value that is zero.
	decode func(r *reader, v reflect.Value) error
}

// plans has the plan of each struct type, by reflect.Type.
var plans sync.Map

// planOf returns the plan of a struct type. It panics for a type that has no
// plan: that is a mistake in the program, whatever the input.
func planOf(t reflect.Type) *plan {
	if p, ok := plans.Load(t); ok {
		return p.(*plan) //nolint:errcheck,forcetypeassert // nothing else is stored
	}
	p := structPlan(t)
	plans.Store(t, p)
	return p
}

// field is a field of a struct.
type field struct {
	*plan

	index    int
	name     string
	id       int16
	required bool
}

// fieldsOf reads the tags of a struct, in the order of ids.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("thrift"), ",")
		id, err := strconv.ParseInt(tag, 10, 16)
		if err != nil || !f.IsExported() {
			panic(fmt.Sprintf("thrift: %s.%s: no field id in its tag, or not exported", t, f.Name))
		}
		fields = append(fields, field{
			plan:     valuePlan(f.Type, slices.Contains(strings.Split(options, ","), "set")),
			index:    i,
			name:     t.Name() + "." + f.Name,
			id:       int16(id),
			required: !canBeUnset(f.Type) || slices.Contains(strings.Split(options, ","), "required"),
		})
	}
	slices.SortFunc(fields, func(a, b field) int { return int(a.id) - int(b.id) })
	for i := 1; i < len(fields); i++ {
		if fields[i-1].id == fields[i].id {
			panic(fmt.Sprintf("thrift: %s and %s have the same id", fields[i-1].name, fields[i].name))
		}
	}
	return fields
}

func canBeUnset(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map
}

// valuePlan returns the plan of a field's type, or of an element's. Structs that
// contain themselves are not for this package.
func valuePlan(t reflect.Type, set bool) *plan {
	switch t.Kind() {
	case reflect.Bool:
		return boolPlan
	case reflect.Int32:
		return i32Plan
	case reflect.Int64:
		return i64Plan
	case reflect.Float64:
		return doublePlan
	case reflect.String:
		return stringPlan
	case reflect.Pointer:
		return pointerPlan(t)
	case reflect.Struct:
		return planOf(t)
	case reflect.Map:
		return mapPlan(t)
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 && t.Kind() == reflect.Slice {
			return bytesPlan
		}
		return listPlan(t, set)
	default:
		panic(fmt.Sprintf("thrift: type %s has no counterpart", t))
	}
}
