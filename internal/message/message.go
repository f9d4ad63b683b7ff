// Package message keeps what people read within the limits of where it stands:
// errors may quote what a damaged store holds or a hostile program prints.
package message

import "strings"

// ellipsis stands for what was cut off.
const ellipsis = "…"

// Truncate cuts a text that is longer than limit bytes. The rest has no more
// than limit bytes with the ellipsis at its end, and is valid UTF-8. A text that
// is short enough stays as it is.
func Truncate(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:max(0, limit-len(ellipsis))], "") + ellipsis
}
