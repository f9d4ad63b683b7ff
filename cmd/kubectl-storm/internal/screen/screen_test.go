package screen_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stormcell/stormcell/cmd/kubectl-storm/internal/screen"
)

// hostile holds what steers a terminal: an escape that sets its title, a bell,
// a return to the line's begin, a one-byte CSI, and a mark that turns text round.
const hostile = "a\x1b]0;owned\x07b\rc\u009b31md\u202ee\x7f"

func TestClean(t *testing.T) {
	for _, test := range []struct{ name, in, line, lines string }{
		{"plain", "Wörker 日本", "Wörker 日本", "Wörker 日本"},
		{"hostile", hostile, "a␛]0;owned␇b␍c\ufffd31md\ufffde␡", "a␛]0;owned␇b␍c\ufffd31md\ufffde␡"},
		{"lines", "a\n\tb", "a  b", "a\n\tb"},
		{"line separators", "a\u2028b\u2029c\u0085", "a\ufffdb\ufffdc\ufffd", "a\ufffdb\ufffdc\ufffd"},
		{"not UTF-8", "a\xffb\x9b", "a\ufffdb\ufffd", "a\ufffdb\ufffd"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := screen.Clean(test.in); got != test.line {
				t.Errorf("Clean: got %q, want %q", got, test.line)
			}
			if got := screen.CleanLines(test.in); got != test.lines {
				t.Errorf("CleanLines: got %q, want %q", got, test.lines)
			}
			var out bytes.Buffer
			w := screen.CleanWriter(&out)
			for i := range len(test.in) { // byte by byte, so in the middle of characters too
				if _, err := w.Write([]byte(test.in[i : i+1])); err != nil {
					t.Fatal(err)
				}
			}
			// A last byte may be the first of a character that never came.
			if got := out.String(); got != test.lines && got+"\ufffd" != test.lines {
				t.Errorf("CleanWriter: got %q, want %q", got, test.lines)
			}
		})
	}
}

func TestTable(t *testing.T) {
	table := screen.Table{
		Header: []string{"NAME", "CPU", "STATUS"},
		Rows: [][]screen.Cell{
			{{Text: "clock"}, {Text: "0.5", Right: true}, {Text: "Running", Color: screen.Green}},
			{{Text: "wörker\x1b[2J"}, {Text: "12.25", Right: true}, {Text: "Failed", Color: screen.Red}},
		},
	}
	want := strings.Join([]string{
		"NAME           CPU   STATUS",
		"clock          0.5   Running",
		"wörker␛[2J   12.25   Failed",
	}, "\n")
	if got := strings.Join(table.Lines(false), "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	colored := table.Lines(true)
	if got, want := colored[1], "clock          0.5   \x1b[32mRunning\x1b[0m"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if strings.Contains(colored[2], "\x1b[2J") {
		t.Errorf("a cell steers the terminal: %q", colored[2])
	}
}

func TestTableWithoutRows(t *testing.T) {
	var out bytes.Buffer
	if err := (screen.Table{Header: []string{"NAME", "AGE"}}).Write(&out, false); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "NAME   AGE\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
