//go:build programs

// Package hostprograms names the program that build.sh builds, so that
// "go mod tidy" keeps what it needs.
package hostprograms

import _ "github.com/opencontainers/runc"
