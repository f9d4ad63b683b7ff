package main

import (
	"bytes"
	"fmt"
	"os"
	"testing"
)

func TestReadOnlyMapping(t *testing.T) {
	const program = "/usr/bin/node-agent"
	tests := []struct {
		name, line string
		ok         bool
	}{
		{"code", "00400000-01536000 r-xp 00000000 fe:00 10428570                           " + program, true},
		{"constants", "01536000-02676000 r--p 01136000 fe:00 10428570                           " + program, true},
		{"data", "02676000-0271a000 rw-p 02276000 fe:00 10428570                           " + program, false},
		{"another file", "01536000-02676000 r--p 01136000 fe:00 10428570                           /x" + program, false},
		{"no file", "c000000000-c000400000 r--p 00000000 00:00 0", false},
		{"nothing", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			begin, end, ok := readOnlyMapping(tt.line, program)
			if ok != tt.ok || ok && end <= begin {
				t.Errorf("%x-%x, %v", begin, end, ok)
			}
		})
	}
}

// TestLetGoOfProgram looks at the kernel's account before and after.
func TestLetGoOfProgram(t *testing.T) {
	before := filePages(t)
	if err := letGoOfProgram(); err != nil {
		t.Fatal(err)
	}
	if after := filePages(t); after >= before {
		t.Errorf("%d pages of files before, %d after", before, after)
	}
}

func filePages(t *testing.T) (pages int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	var size, resident int
	if _, err := fmt.Fscan(bytes.NewReader(text), &size, &resident, &pages); err != nil {
		t.Fatal(err)
	}
	return pages
}
