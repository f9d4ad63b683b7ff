package profile

import (
	"bytes"
	_ "embed"
	"strings"
)

// Script is the profiler script of nodes that name no other.
//
//go:embed profiler.sh
var Script []byte

// gate is run by the image's bash. It waits for a line, drops what the worker has of
// environment beside where Java is, and becomes the program that it is given. That reads
// the script from descriptor 3, as what follows the line: the script has no name in the
// container, and nothing at whatever path there counts.
const gate = `exec 2>&1
read -r _ || exit
for name in $(compgen -e); do
	case $name in PATH | JAVA_HOME) ;; *) unset "$name" ;; esac
done
export PATH
exec "$@" 3<&0 </dev/null`

// words is the command line that runs a script with these arguments.
func words(script []byte, args []string) []string {
	all := append([]string{"bash", "-p", "-c", gate, "bash"}, interpreter(script)...)
	return append(append(all, "/proc/self/fd/3"), args...)
}

// interpreter is the program of a script's first line, with at most one argument, as the
// kernel reads it; bash for a script without such a line.
func interpreter(script []byte) []string {
	line, _, _ := bytes.Cut(script, []byte("\n"))
	text, ok := strings.CutPrefix(string(line), "#!")
	name, argument, _ := strings.Cut(strings.TrimSpace(text), " ")
	if !ok || name == "" {
		return []string{"bash"}
	}
	if argument = strings.TrimSpace(argument); argument != "" {
		return []string{name, argument}
	}
	return []string{name}
}
