package message_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stormcell/stormcell/internal/message"
)

func TestTruncate(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		limit      int
		want       string
	}{
		{"short", "short", 9, "short"},
		{"exactly", "exactly", 7, "exactly"},
		{"one byte too long", "too long", 7, "too …"},
		{"within a letter of two bytes", "ääää", 7, "ää…"},
		{"within a letter of four bytes", "🌩🌩🌩", 10, "🌩…"},
		{"no UTF-8, and long", "a\xffb\xc3cdefgh", 8, "abc…"},
		{"no UTF-8, and short", "a\xff", 8, "a\xff"},
		{"empty", "", 8, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := message.Truncate(tt.text, tt.limit); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestTruncateAnywhere: wherever the limit falls, what is left is whole letters.
func TestTruncateAnywhere(t *testing.T) {
	text := strings.Repeat("aä€🌩", 10)
	for limit := 3; limit < len(text); limit++ {
		got := message.Truncate(text, limit)
		kept, cut := strings.CutSuffix(got, "…")
		if len(got) > limit || len(got) < limit-3 || !utf8.ValidString(got) || !cut || !strings.HasPrefix(text, kept) {
			t.Errorf("limit %d: %q of %d bytes", limit, got, len(got))
		}
	}
}
