package runc

import "github.com/stormcell/stormcell/internal/node/runtime/runtimetest"

// Guest builds the tests' static program once and returns its path.
var Guest = guest

// Hostile builds the worker that works against its node.
func Hostile() (string, error) { return runtimetest.BuildGuest(guestDir, runtimetest.Hostile) }
