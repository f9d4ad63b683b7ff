package profile

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestTail(t *testing.T) {
	long := strings.Repeat("x", maxOutput)
	for _, tt := range []struct {
		name   string
		writes []string
		want   string
	}{
		{"nothing", nil, ""},
		{"a line", []string{"done\n"}, "done"},
		{"lines", []string{"a\n", "b\tc\n"}, "a\nb\tc"},
		{"the last of much", []string{long, "\nend\n"}, "end"},
		{"much at once", []string{long + long + "\nend\n"}, "end"},
		{"escapes", []string{"\x1b[31mred\x07\x00\n"}, "[31mred"},
		{"no UTF-8", []string{"a\xffb"}, "ab"},
	} {
		var out tail
		for _, w := range tt.writes {
			if n, err := out.Write([]byte(w)); n != len(w) || err != nil {
				t.Errorf("%s: wrote %d, %v", tt.name, n, err)
			}
		}
		if got := out.String(); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// FuzzTail: what is kept fits into a status, whatever a script prints.
func FuzzTail(f *testing.F) {
	f.Add("done\n", "\x1b[31m\xff\x00")
	f.Add(strings.Repeat("x", maxOutput), "é\n")
	f.Fuzz(func(t *testing.T, first, second string) {
		var out tail
		for _, s := range []string{first, second} {
			if n, err := out.Write([]byte(s)); n != len(s) || err != nil {
				t.Fatal(n, err)
			}
		}
		got := out.String()
		if len(got) > maxOutput || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
			t.Errorf("%q", got)
		}
	})
}
