// Package faults kills the node-agent, starves it of what it needs and takes
// away what it has made, while workers come and go, and counts what is left.
// Its tests are built with the tag "faults", as their node-agent is, and run
// by "make test-faults".
package faults
