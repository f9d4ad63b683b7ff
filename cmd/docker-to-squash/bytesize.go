package main

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
)

// byteSize is a flag for a number of bytes, with an optional unit: 10GiB, 10G
// and 10737418240 are the same.
type byteSize int64

var (
	sizeGrammar = regexp.MustCompile(`^([0-9]+)(?:([KMGT])(?:iB)?)?$`)
	sizeUnits   = []struct {
		letter string
		shift  uint
	}{{"T", 40}, {"G", 30}, {"M", 20}, {"K", 10}, {"", 0}}
)

// String writes the size with the largest unit that divides it.
func (s *byteSize) String() string {
	for _, u := range sizeUnits {
		if n := int64(*s) >> u.shift; n > 0 && n<<u.shift == int64(*s) && u.letter != "" {
			return fmt.Sprintf("%d%siB", n, u.letter)
		}
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Set parses the size.
func (s *byteSize) Set(text string) error {
	m := sizeGrammar.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("%q is not a size: write bytes, or 10GiB", text)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return fmt.Errorf("%q is too large", text)
	}
	for _, u := range sizeUnits {
		if u.letter != m[2] {
			continue
		}
		if n > math.MaxInt64>>u.shift {
			return fmt.Errorf("%q is too large", text)
		}
		*s = byteSize(n << u.shift)
	}
	return nil
}

// Type implements pflag.Value.
func (s *byteSize) Type() string { return "bytes" }

// humanBytes writes a number of bytes for people.
func humanBytes(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, units := float64(n)/(1<<10), "KMGTPE"
	i := 0
	for ; value >= 1000 && i < len(units)-1; i++ {
		value /= 1 << 10
	}
	return fmt.Sprintf("%.1f %ciB", value, units[i])
}
