package bundle

import (
	"fmt"
	"strings"

	"github.com/stormcell/stormcell/internal/node/worker"
)

// script is the text of storm-worker-script.sh: what bash runs in the
// container. The words are quoted as Storm quotes them.
func script(w worker.Spec) (string, error) {
	var b strings.Builder
	b.WriteString("#!/bin/bash\n")
	for _, v := range w.Env {
		if v.Name == "" || strings.ContainsAny(v.Name, "=\x00") || strings.Contains(v.Value, "\x00") {
			return "", fmt.Errorf("%w: variable %q: its name may not be empty or hold \"=\", and neither part a NUL", ErrInvalidText, v.Name)
		}
		b.WriteString("export " + quote(v.Name+"="+v.Value) + ";\n")
	}
	b.WriteString("\numask 0027\nexec")
	for _, word := range w.Command {
		if strings.Contains(word, "\x00") {
			return "", fmt.Errorf("%w: command word %q holds a NUL", ErrInvalidText, word)
		}
		b.WriteString(" " + quote(word))
	}
	b.WriteString(";\n")
	return b.String(), nil
}

// quote makes one word of s for a POSIX shell: in single quotes, with those
// inside put between double ones.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'"'"'`) + "'"
}
