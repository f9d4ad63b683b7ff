package controllers

import "time"

// agentState is how the agent of a node is.
type agentState int

const (
	// agentNone: the agent has no Lease; it has never spoken.
	agentNone agentState = iota
	// agentUnproven: its Lease looks old, but may be so because clocks differ.
	// It gets no new worker, and is not given up either.
	agentUnproven
	// agentLive: it renews its Lease.
	agentLive
	// agentSilent: it has not renewed its Lease for the lease's duration.
	agentSilent
)

// agentStates are the states by the names that metrics give them.
var agentStates = map[agentState]string{agentNone: "none", agentUnproven: "unproven", agentLive: "live", agentSilent: "silent"}

// pulse is the life sign of an agent. Its age is measured by this process's own
// clock, from when a renewal was seen, so that the clocks of nodes do not count.
type pulse struct {
	renewed, seenAt time.Time
	proven          bool
}

func (p pulse) seen() bool { return !p.seenAt.IsZero() }

// beat notes that the Lease says renewed.
func (p pulse) beat(renewed, now time.Time, duration time.Duration) pulse {
	if p.seen() && p.renewed.Equal(renewed) {
		return p
	}
	proven := p.seen() || now.Sub(renewed).Abs() < duration
	return pulse{renewed: renewed, seenAt: now, proven: proven}
}

func (p pulse) state(now time.Time, duration time.Duration) agentState {
	switch {
	case !p.seen():
		return agentNone
	case p.remaining(now, duration) == 0:
		return agentSilent
	case p.proven:
		return agentLive
	default:
		return agentUnproven
	}
}

// remaining is how long the agent may stay silent until it is given up; 0 if it
// is already.
func (p pulse) remaining(now time.Time, duration time.Duration) time.Duration {
	if !p.seen() {
		return 0
	}
	return max(0, duration-now.Sub(p.seenAt))
}
