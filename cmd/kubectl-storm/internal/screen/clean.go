// Package screen writes tables for people: aligned, coloured on a terminal, and without
// control characters.
package screen

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/runes"
	"golang.org/x/text/transform"
)

// Clean makes text from the cluster harmless to a terminal, and one line.
func Clean(text string) string { return strings.Map(inLine, text) }

// CleanLines makes text harmless to a terminal and keeps its lines.
func CleanLines(text string) string { return strings.Map(visible, text) }

// CleanWriter makes what is written to it harmless to a terminal, as it comes.
// What is held back at the end is at most a part of a character.
func CleanWriter(w io.Writer) io.Writer { return transform.NewWriter(w, runes.Map(visible)) }

func inLine(r rune) rune {
	if r == '\n' || r == '\t' {
		return ' '
	}
	return visible(r)
}

// controlPictures is U+2400, after which Unicode has a picture of each control
// character.
const controlPictures = '␀'

// visible shows control characters as their pictures. Those above ASCII have
// none, and are replaced, as are the marks that turn the direction of text,
// which would let one thing look like another.
func visible(r rune) rune {
	switch {
	case r == '\n' || r == '\t':
		return r
	case r < ' ':
		return controlPictures + r
	case r == 0x7f:
		return '␡'
	case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029':
		return utf8.RuneError
	default:
		return r
	}
}
