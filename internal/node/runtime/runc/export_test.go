package runc

// Guest builds the tests' static program once and returns its path.
var Guest = guest
