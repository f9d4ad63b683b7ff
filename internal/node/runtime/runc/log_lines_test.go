package runc

import (
	"strings"
	"testing"
)

func TestLogLines(t *testing.T) {
	const (
		a = "2026-11-26T11:00:00.1+00:00 stdout F one\n"
		b = "2026-11-26T11:00:01.2+00:00 stderr P two, \n"
		c = "2026-11-26T11:00:01.3+00:00 stderr F and on\n"
		d = "2026-11-26T11:00:02.4+00:00 stdout F \x1b[31mred\x00\n"
	)
	long := strings.Repeat("x", logBuffer)
	tests := []struct {
		name  string
		lines logLines
		in    []string
		want  string
		count int64
	}{
		{"texts", logLines{}, []string{a, b, c, d}, "one\ntwo, and on\n\x1b[31mred\x00\n", 3},
		{"times", logLines{timestamps: true}, []string{a, b, c}, "2026-11-26T11:00:00.1+00:00 one\n2026-11-26T11:00:01.2+00:00 two, and on\n", 2},
		{"the last", logLines{skip: 1}, []string{a, b, c, d}, "two, and on\n\x1b[31mred\x00\n", 3},
		{"none", logLines{skip: -1}, []string{a, b, c, d}, "", 3},
		{"in pieces", logLines{}, []string{a[:3], a[3:30], a[30:], b}, "one\ntwo, ", 2},
		{"not whole yet", logLines{}, []string{a, c[:40]}, "one\n", 1},
		{"an empty line", logLines{}, []string{"t stdout F \n"}, "\n", 1},
		{"not conmon's", logLines{timestamps: true}, []string{"a b\n", "t stdout X y\n"}, "a b\nt stdout X y\n", 2},
		{"longer than any", logLines{}, []string{long, "y\n", a}, long + "y\none\n", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, record := range tt.in {
				tt.lines.add([]byte(record))
			}
			if got := tt.lines.out.String(); got != tt.want || tt.lines.count != tt.count {
				t.Errorf("%d lines %.200q, want %d lines %.200q", tt.lines.count, got, tt.count, tt.want)
			}
		})
	}
}

// It makes no difference in what pieces a record comes.
func FuzzLogLines(f *testing.F) {
	f.Add("2026-11-26T11:00:00.1+00:00 stdout F one\n", 3)
	f.Add("t stderr P two\n", 14)
	f.Add("\x1b[31m\x00 F F F\n", 0)
	f.Fuzz(func(t *testing.T, record string, at int) {
		if len(record) >= logBuffer || strings.Count(record, "\n") != 1 || !strings.HasSuffix(record, "\n") {
			t.Skip()
		}
		at = max(0, at) % len(record)
		var whole, pieces logLines
		whole.add([]byte(record))
		pieces.add([]byte(record[:at]))
		pieces.add([]byte(record[at:]))
		if whole.out.String() != pieces.out.String() || whole.count != pieces.count || whole.inside != pieces.inside {
			t.Errorf("whole %q, in pieces %q", &whole.out, &pieces.out)
		}
		if !strings.Contains(record, whole.out.String()) {
			t.Errorf("%q is no part of %q", &whole.out, record)
		}
	})
}
