package thrift

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

type inner struct {
	Name  string  `thrift:"1"`
	Ports []int64 `thrift:"2,required,set"`
}

type outer struct {
	Inner  inner             `thrift:"1"`
	Maybe  *int32            `thrift:"2"`
	List   []inner           `thrift:"3"`
	Pairs  map[[2]int64]bool `thrift:"4"`
	Binary []byte            `thrift:"5"`
	Ratio  *float64          `thrift:"-6"`
}

func full() outer {
	one := inner{Name: "n", Ports: []int64{1}}
	return outer{
		Inner: one, Maybe: new(int32(-1)), List: []inner{one, {Name: "", Ports: []int64{}}},
		Pairs: map[[2]int64]bool{{1, 2}: true, {0, -1}: false}, Binary: []byte{}, Ratio: new(0.5),
	}
}

func TestMarshalGivesBackTheSame(t *testing.T) {
	for name, v := range map[string]outer{"full": full(), "minimal": {Inner: inner{Ports: []int64{}}}} {
		b, err := MarshalChecked(v)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := Marshal(&v)
		if err != nil || !bytes.Equal(b, again) {
			t.Errorf("%s: %x and %x, %v", name, b, again, err)
		}
	}
}

func TestMarshalRefuses(t *testing.T) {
	long := full()
	long.List[0].Name = "\xff"
	nan := full()
	nan.Ratio = new(math.NaN())
	tests := map[string]struct {
		v    outer
		want string
		is   error
	}{
		"an unset field": {outer{}, "outer.Inner: inner.Ports: required, but unset", errUnset},
		"no text":        {long, "outer.List: inner.Name: not UTF-8", errText},
		"no number":      {nan, "thrift.outer: the encoded value does not decode to the same value", ErrChanged},
	}
	for name, tt := range tests {
		b, err := MarshalChecked(tt.v)
		if b != nil || err == nil || err.Error() != tt.want || !errors.Is(err, tt.is) {
			t.Errorf("%s: %x, %v", name, b, err)
		}
	}
	for _, v := range []any{nil, 1, (*outer)(nil), []inner{}} {
		if _, err := Marshal(v); err == nil {
			t.Errorf("%T is encoded", v)
		}
	}
}

// piece is a field by hand: type, id and content.
func piece(wire wireType, id byte, content ...byte) string {
	return string([]byte{byte(wire), 0, id}) + string(content)
}

// small is the shortest inner.
var small = piece(wireString, 1, 0, 0, 0, 0) + piece(wireSet, 2, byte(wireI64), 0, 0, 0, 0) + "\x00"

func TestUnmarshalRefuses(t *testing.T) {
	whole := piece(wireStruct, 1) + small
	tests := map[string]struct{ input, want string }{
		"nothing":            {"", "outer: the input ends too early"},
		"no end":             {whole, "outer: the input ends too early"},
		"more than one":      {whole + "\x00\x00", "1 bytes follow it"},
		"an unset field":     {"\x00", "outer.Inner: required, but unset"},
		"an unset inner":     {piece(wireStruct, 1) + "\x00\x00", "outer.Inner: inner.Name: required, but unset"},
		"another type":       {whole + piece(wireI64, 2) + "12345678\x00", "outer.Maybe: i64 instead of i32"},
		"a long string":      {piece(wireStruct, 1) + piece(wireString, 1, 0x7f, 0xff, 0xff, 0xff), "inner.Name: the input ends too early: 2147483647 elements"},
		"a negative size":    {piece(wireStruct, 1) + piece(wireString, 1, 0xff, 0xff, 0xff, 0xff), "inner.Name: the size is -1"},
		"no text":            {piece(wireStruct, 1) + piece(wireString, 1, 0, 0, 0, 1, 0xff), "inner.Name: not UTF-8"},
		"a long list":        {whole + piece(wireList, 3, byte(wireStruct), 0x7f, 0xff, 0xff, 0xff), "outer.List: the input ends too early: 2147483647 elements of 16 bytes"},
		"a long map":         {whole + piece(wireMap, 4, byte(wireList), byte(wireBool), 0x7f, 0xff, 0xff, 0xff), "outer.Pairs: the input ends too early: 2147483647 elements"},
		"one too many":       {whole + piece(wireList, 3, byte(wireStruct), 0, 0, 0, 2) + strings.Repeat("x", 31), "outer.List: the input ends too early: 2 elements of 16 bytes or more, 31 bytes left"},
		"another element":    {whole + piece(wireList, 3, byte(wireString), 0, 0, 0, 1) + strings.Repeat("\x00", 20), "outer.List: elements are string instead of struct"},
		"a third of two":     {whole + piece(wireMap, 4, byte(wireList), byte(wireBool), 0, 0, 0, 1, byte(wireI64), 0, 0, 0, 1) + strings.Repeat("\x00", 9), "outer.Pairs: key 0: 1 elements instead of 2"},
		"a wrong element":    {whole + piece(wireList, 3, byte(wireStruct), 0, 0, 0, 1) + strings.Repeat("\x00", 20), "outer.List: element 0: inner.Name: required"},
		"no such type":       {piece(5, 9), "outer: unknown field 9: there is no type 5"},
		"a long unknown":     {piece(wireList, 9, byte(wireBool), 0x7f, 0xff, 0xff, 0xff), "outer: unknown field 9: the input ends too early"},
		"a deep unknown":     {strings.Repeat(piece(wireStruct, 9), 1000), "more than 64 levels deep"},
		"a deep list":        {piece(wireList, 9) + strings.Repeat("\x0f\x00\x00\x00\x01", 1000), "more than 64 levels deep"},
		"an unknown map":     {piece(wireMap, 9, 1, 1, 0, 0, 0, 1, 0), "there is no type 1"},
		"a cut unknown":      {piece(wireDouble, 9, 0), "outer: unknown field 9: the input ends too early: 8 bytes wanted, 1 left"},
		"a field without id": {string([]byte{byte(wireI32), 0}), "outer: the input ends too early"},
	}
	for name, tt := range tests {
		v, err := Unmarshal[outer]([]byte(tt.input))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %+v, %v; not %q", name, v, err, tt.want)
		}
	}
}

func TestUnmarshalSkipsWhatItDoesNotKnow(t *testing.T) {
	unknown := []string{
		piece(wireBool, 20, 1), piece(wireByte, 21, 1), piece(wireI16, 22, 0, 1), piece(wireI32, 23, 0, 0, 0, 1),
		piece(wireI64, 24) + "12345678", piece(wireDouble, 25) + "12345678", piece(wireString, 26, 0, 0, 0, 1, 0xff),
		piece(wireStruct, 27) + piece(wireStruct, 1) + small + "\x00",
		piece(wireList, 28, byte(wireStruct), 0, 0, 0, 1) + small, piece(wireSet, 29, byte(wireBool), 0, 0, 0, 2, 0, 1),
		piece(wireMap, 30, byte(wireByte), byte(wireString), 0, 0, 0, 1, 7, 0, 0, 0, 0),
		// Of an empty one Java's older libraries leave out the types.
		piece(wireMap, 31, 0, 0, 0, 0, 0, 0), piece(wireList, 32, 0, 0, 0, 0, 0),
	}
	input := strings.Join(unknown, "") + piece(wireStruct, 1) + small + piece(wireI32, 2, 0, 0, 0, 1) +
		piece(wireI32, 2, 0, 0, 0, 2) + piece(wireMap, 4, 0, 0, 0, 0, 0, 0) + "\x00"
	want := outer{Inner: inner{Ports: []int64{}}, Maybe: new(int32(2)), Pairs: map[[2]int64]bool{}}
	if err := Same([]byte(input), want); err != nil {
		t.Error(err)
	}
}

// TestTheLastFieldCounts has a struct twice: nothing of the first one stays.
func TestTheLastFieldCounts(t *testing.T) {
	type holder struct {
		Outer outer `thrift:"1"`
	}
	one := piece(wireStruct, 1) + piece(wireStruct, 1) + small
	input := one + piece(wireI32, 2, 0, 0, 0, 1) + "\x00" + one + "\x00\x00"
	if err := Same([]byte(input), holder{outer{Inner: inner{Ports: []int64{}}}}); err != nil {
		t.Error(err)
	}
}

func TestSchemaMistakesPanic(t *testing.T) {
	type untagged struct{ A string }
	type twice struct {
		A string `thrift:"1"`
		B string `thrift:"1"`
	}
	type hidden struct {
		a string `thrift:"1"`
	}
	type pointers struct {
		A []*string `thrift:"1"`
	}
	type foreign struct {
		A uint16 `thrift:"1"`
	}
	for _, v := range []any{untagged{}, twice{}, hidden{a: ""}, pointers{}, foreign{}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%T has a plan", v)
				}
			}()
			_, _ = Marshal(v)
		}()
	}
}

type gone struct {
	Msg string `thrift:"1"`
}

func (e *gone) Error() string { return "gone: " + e.Msg }

type found struct {
	Success *string `thrift:"0"`
	Gone    *gone   `thrift:"1"`
}

var find = Method[inner, found]{Name: "find"}

func TestMethod(t *testing.T) {
	call, err := find.Call(7, inner{Ports: []int64{1}})
	if err != nil {
		t.Fatal(err)
	}
	msg, err := ParseMessage(call)
	if err != nil {
		t.Fatal(err)
	}
	if args, err := find.Args(msg); err != nil || args.Ports[0] != 1 {
		t.Errorf("%+v, %v", args, err)
	}
	if _, err := (Method[inner, found]{Name: "lose"}).Args(msg); err == nil {
		t.Error("a call of another method is taken")
	}
	answer := func(b []byte, err error) error {
		if err != nil {
			t.Fatal(err)
		}
		_, err = find.Answer(b, 7)
		return err
	}
	if err := answer(find.Reply(msg, found{Success: new("")})); err != nil {
		t.Error(err)
	}
	if err := answer(find.Reply(msg, found{})); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("nothing: %v", err)
	}
	if e, ok := errors.AsType[*gone](answer(find.Reply(msg, found{Gone: &gone{"x"}}))); !ok || e.Msg != "x" {
		t.Errorf("a declared exception: %v", e)
	}
	if e, ok := errors.AsType[*ApplicationError](answer(msg.Refuse(NewApplicationError(InternalError, "x")))); !ok || *e.Code != InternalError {
		t.Errorf("another exception: %v", e)
	}
	msg.Seq++
	for name, err := range map[string]error{
		"a call":       answer(call, nil),
		"another call": answer(find.Reply(msg, found{Success: new("")})),
	} {
		if err == nil || !strings.Contains(err.Error(), "instead of an answer to call 7") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseMessageRefuses(t *testing.T) {
	for name, input := range map[string]string{
		"nothing":          "",
		"an old message":   "\x00\x00\x00\x04find\x01\x00\x00\x00\x07\x00",
		"another version":  "\x80\x02\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00",
		"no kind":          "\x80\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"a one-way call":   "\x80\x01\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00",
		"a long name":      "\x80\x01\x00\x01\x7f\xff\xff\xff",
		"no number":        "\x80\x01\x00\x01\x00\x00\x00\x01a\x00\x00",
		"HTTP":             "GET / HTTP/1.1\r\n\r\n",
		"a name, not text": "\x80\x01\x00\x01\x00\x00\x00\x01\xff\x00\x00\x00\x00",
	} {
		if m, err := ParseMessage([]byte(input)); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func TestFrame(t *testing.T) {
	frame, err := Frame([]byte("abc"), 3)
	if err != nil {
		t.Fatal(err)
	}
	two := bytes.NewReader(append(frame, frame...))
	for range 2 {
		if got, err := ReadFrame(two, 3); err != nil || string(got) != "abc" {
			t.Errorf("%q, %v", got, err)
		}
	}
	if _, err := ReadFrame(two, 3); err != io.EOF { //nolint:errorlint // as it is
		t.Errorf("at the end: %v", err)
	}
	for name, input := range map[string]string{
		"an empty one": "\x00\x00\x00\x00", "a long one": "\x00\x00\x00\x04abcd", "a huge one": "\xff\xff\xff\xffabcd",
		"a cut head": "\x00\x00", "a cut one": "\x00\x00\x00\x03ab",
	} {
		if got, err := ReadFrame(strings.NewReader(input), 3); err == nil || errors.Is(err, io.EOF) && name != "a cut one" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, content := range []string{"", "abcd"} {
		if _, err := Frame([]byte(content), 3); err == nil {
			t.Errorf("%q has a frame", content)
		}
	}
}
