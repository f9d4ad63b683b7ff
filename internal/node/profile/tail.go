package profile

import (
	"strings"
	"unicode"
)

// maxOutput is how much of a script's output is kept, in bytes.
const maxOutput = 4096

// tail keeps the last bytes that are written to it. A line counts if it is whole.
type tail struct {
	kept []byte
	cut  bool
}

// Write implements io.Writer. It never fails.
func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > maxOutput {
		p, t.cut = p[len(p)-maxOutput:], true
	}
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - maxOutput; over > 0 {
		t.kept, t.cut = append(t.kept[:0], t.kept[over:]...), true
	}
	return n, nil
}

// String returns what is kept, printable and in UTF-8.
func (t *tail) String() string {
	text := strings.ToValidUTF8(string(t.kept), "")
	if t.cut {
		_, text, _ = strings.Cut(text, "\n")
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, text))
}
