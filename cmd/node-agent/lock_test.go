package main

import (
	"strings"
	"testing"
)

func TestOneAgentPerRunRoot(t *testing.T) {
	dir := t.TempDir()
	first, err := lockNode(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockNode(dir); err == nil || !strings.Contains(err.Error(), "another node-agent") {
		t.Errorf("a second agent on one run root: %v", err)
	}
	first.Close()
	again, err := lockNode(dir)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	again.Close()
}
