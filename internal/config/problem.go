package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stormcell/stormcell/internal/message"
)

// ErrInvalid is a configuration file that breaks the rules. The error that
// wraps it is an InvalidError.
var ErrInvalid = errors.New("invalid configuration")

// maxProblems bounds what one hostile file can make us say.
const maxProblems = 50

// Problem is one thing to put right in a configuration file.
type Problem struct {
	File string
	// Line counts from 1; 0 is a problem of the file as a whole.
	Line int
	// Key is the key at fault, or empty.
	Key string
	// Message says what is wrong and how to put it right.
	Message string
}

// String writes the problem as "file:line: key: message".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Key != "" {
		b.WriteString(": " + truncate(p.Key))
	}
	return b.String() + ": " + p.Message
}

// InvalidError is everything that is wrong with a file, in the order of its lines.
type InvalidError []Problem

// Error implements error: one line per problem.
func (ps InvalidError) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Is makes errors.Is(err, ErrInvalid) true.
func (ps InvalidError) Is(target error) bool { return target == ErrInvalid }

// err returns the problems as an error, or nil if there are none.
func (ps InvalidError) err() error {
	if len(ps) == 0 {
		return nil
	}
	sorted := slices.Clone(ps)
	slices.SortStableFunc(sorted, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	if more := len(sorted) - maxProblems; more > 0 {
		sorted = append(sorted[:maxProblems], Problem{File: ps[0].File, Message: fmt.Sprintf("and %d more problems", more)})
	}
	return sorted
}

// maxWord is the longest word of a file that a problem repeats, in bytes.
const maxWord = 120

// truncate shortens words of a file for messages.
func truncate(s string) string { return message.Truncate(s, maxWord) }

// nearest returns the one of names that takes the fewest edits to become
// name, and the number of edits.
func nearest(name string, names []string) (best string, edits int) {
	if len(name) > 200 {
		return "", len(name)
	}
	edits = len(name) + 1
	for _, n := range names {
		if d := distance(name, n); d < edits || best == "" {
			best, edits = n, d
		}
	}
	return best, edits
}

// distance counts the insertions, deletions, substitutions and swaps of
// neighbours between a and b (optimal string alignment).
func distance(a, b string) int {
	prev2, prev := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			substitution := prev[j-1]
			if a[i-1] != b[j-1] {
				substitution++
			}
			row[j] = min(prev[j]+1, row[j-1]+1, substitution)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev = prev, row
	}
	return prev[len(b)]
}
