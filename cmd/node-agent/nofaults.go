//go:build !faults

package main

import "github.com/stormcell/stormcell/internal/node/engine"

// withFaults is for test/faults, which builds another one.
func withFaults(o engine.Options) engine.Options { return o }
