package screen

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Color is how a cell looks on a terminal.
type Color string

// The colours, by what they say: well, under way, and wrong. Faint is for what
// matters less.
const (
	Plain Color = ""
	Green Color = "\x1b[32m"
	Amber Color = "\x1b[33m"
	Red   Color = "\x1b[31m"
	Bold  Color = "\x1b[1m"
	Faint Color = "\x1b[2m"

	reset = "\x1b[0m"
)

// Paint colours a text that is harmless already.
func Paint(text string, c Color) string {
	if c == Plain || text == "" {
		return text
	}
	return string(c) + text + reset
}

// Cell is a text of a table with its colour.
type Cell struct {
	Text  string
	Color Color
	// Right aligns it to the right, as numbers are.
	Right bool
}

// Table is rows below a header. Every row has as many cells as the header.
type Table struct {
	Header []string
	Rows   [][]Cell
}

// gap is what lies between two columns.
const gap = "   "

// Lines are the lines of the table: cells are cleaned, aligned and, if colored
// is set, coloured.
func (t Table) Lines(colored bool) []string {
	rows := make([][]Cell, 0, len(t.Rows)+1)
	head := make([]Cell, len(t.Header))
	for i, title := range t.Header {
		head[i] = Cell{Text: title, Color: Bold, Right: len(t.Rows) > 0 && t.Rows[0][i].Right}
	}
	rows = append(append(rows, head), t.Rows...)
	widths := make([]int, len(t.Header))
	for _, row := range rows {
		for i := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].Text))
		}
	}
	lines := make([]string, len(rows))
	for i, row := range rows {
		lines[i] = line(row, widths, colored)
	}
	return lines
}

// line joins cells, without blanks behind the last.
func line(row []Cell, widths []int, colored bool) string {
	var b strings.Builder
	for i, cell := range row {
		text := Clean(cell.Text)
		blanks := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text))
		if colored {
			text = Paint(text, cell.Color)
		}
		switch {
		case cell.Right:
			b.WriteString(blanks + text)
		case i == len(row)-1:
			b.WriteString(text)
		default:
			b.WriteString(text + blanks)
		}
		if i < len(row)-1 {
			b.WriteString(gap)
		}
	}
	return b.String()
}

// Write writes the table.
func (t Table) Write(w io.Writer, colored bool) error {
	_, err := io.WriteString(w, strings.Join(t.Lines(colored), "\n")+"\n")
	return err
}
