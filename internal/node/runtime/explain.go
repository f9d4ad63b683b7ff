package runtime

import (
	"fmt"
	"regexp"
)

var (
	noProgram = regexp.MustCompile(`exec: "([^"]*)": (?:executable file not found|stat .*: no such file)`)
	// The words of runc 1.1, of 1.4 and newer, and of Docker.
	noSource = regexp.MustCompile(`(?:error mounting "([^"]*)" to rootfs at "[^"]*": .*: no such file or directory|failed to fulfil mount request: open (.*): no such file or directory|bind source path does not exist: (\S+))`)
)

// Explain puts what most often goes wrong when a container is made in front of
// the runtime's own words.
func Explain(text string) string {
	if m := noProgram.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("the image has no program %q in its PATH; use an image that has it (%s)", m[1], text)
	}
	if m := noSource.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("bind mount source %s is missing on this node; create it or remove it from the configuration (%s)", m[1]+m[2]+m[3], text)
	}
	return text
}
