package controllers

import "time"

// agentState is the state of a node's agent.
type agentState int

const (
	// agentNone: the agent has no Lease; it has never reported.
	agentNone agentState = iota
	// agentUnproven: the Lease looks old, but clocks may differ. The agent gets
	// no new worker, and its node does not count as lost either.
	agentUnproven
	// agentLive: the agent renews its Lease.
	agentLive
	// agentSilent: the agent has not renewed its Lease for the lease's duration.
	agentSilent
)

// agentStates are the names of the states in metrics.
var agentStates = map[agentState]string{agentNone: "none", agentUnproven: "unproven", agentLive: "live", agentSilent: "silent"}

// heartbeat is the last renewal of an agent's Lease. Its age is measured by this
// process's own clock, from the moment when the renewal was seen, so that the
// clocks of nodes do not matter.
type heartbeat struct {
	renewed, seenAt time.Time
	proven          bool
}

func (h heartbeat) seen() bool { return !h.seenAt.IsZero() }

// renew returns the heartbeat after the Lease was read with a renew time.
func (h heartbeat) renew(renewed, now time.Time, duration time.Duration) heartbeat {
	if h.seen() && h.renewed.Equal(renewed) {
		return h
	}
	proven := h.seen() || now.Sub(renewed).Abs() < duration
	return heartbeat{renewed: renewed, seenAt: now, proven: proven}
}

func (h heartbeat) state(now time.Time, duration time.Duration) agentState {
	switch {
	case !h.seen():
		return agentNone
	case h.remaining(now, duration) == 0:
		return agentSilent
	case h.proven:
		return agentLive
	default:
		return agentUnproven
	}
}

// remaining returns how long the agent may pause before it counts as silent; 0
// if it does already.
func (h heartbeat) remaining(now time.Time, duration time.Duration) time.Duration {
	if !h.seen() {
		return 0
	}
	return max(0, duration-now.Sub(h.seenAt))
}
