package program

import (
	"bytes"
	"testing"
)

func TestOutput(t *testing.T) {
	for _, tt := range []struct {
		name   string
		writes []string
		limit  int
		want   string
		full   bool
	}{
		{"nothing", nil, 4, "", false},
		{"as much as fits", []string{"ab", "cd"}, 4, "abcd", false},
		{"more", []string{"ab", "cde", "f"}, 4, "abcd", true},
		{"space around", []string{" a\n"}, 4, "a", false},
		{"half a character", []string{"abcé"}, 4, "abc", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := NewOutput(new(bytes.Buffer), tt.limit)
			for _, w := range tt.writes {
				if n, err := o.Write([]byte(w)); n != len(w) || err != nil {
					t.Errorf("Write(%q) = %d, %v", w, n, err)
				}
			}
			if o.String() != tt.want || o.Full() != tt.full {
				t.Errorf("got %q, full %v", o, o.Full())
			}
			o.Reset()
			if o.String() != "" {
				t.Errorf("after Reset: %q", o)
			}
		})
	}
}
