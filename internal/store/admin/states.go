package admin

import (
	"io/fs"
	"time"
)

// State is where an image is in its life.
type State string

// The states. An image without a tag becomes stale as soon as a cleanup notes
// it, dead when it has been stale for long enough, and is removed when it has
// been dead for as long again.
//
//	tagged ⇄ untagged → stale → dead → (removed)
//	   ▲                  │       │
//	   └──────────────────┴───────┘ a new tag
const (
	Tagged   State = "tagged"
	Untagged State = "untagged"
	Stale    State = "stale"
	Dead     State = "dead"
	// Gone is a marker whose manifest is not there.
	Gone State = "gone"
)

// Action is one step of an image's life.
type Action string

// The actions.
const (
	// Keep does nothing.
	Keep Action = "keep"
	// Revive makes a tagged image whole again that was on its way out: its
	// manifest readable, its marker gone.
	Revive Action = "revive"
	// Mark notes that the image has no tag, from now on.
	Mark Action = "mark"
	// Kill hides the manifest from nodes.
	Kill Action = "kill"
	// Delete deletes the manifest and what only it needs.
	Delete Action = "delete"
	// Unmark removes a marker that marks nothing.
	Unmark Action = "unmark"
)

// sighting is what the store shows of an image's state.
type sighting struct {
	tagged bool
	// exists tells whether the manifest is there, and mode is its mode.
	exists bool
	mode   fs.FileMode
	// marked tells whether there is a marker, and since its time.
	marked bool
	since  time.Time
}

func (s sighting) state(dead fs.FileMode) State {
	switch {
	case !s.exists:
		return Gone
	case s.tagged:
		return Tagged
	case !s.marked:
		return Untagged
	case s.mode == dead:
		return Dead
	default:
		return Stale
	}
}

// next decides the one step that a cleanup does for an image. due is when a
// later run has to do the one after Keep.
func (s sighting) next(dead fs.FileMode, now time.Time, transition time.Duration) (_ Action, due time.Time) {
	switch s.state(dead) {
	case Gone:
		return Unmark, time.Time{}
	case Tagged:
		if s.marked || s.mode == dead {
			return Revive, time.Time{}
		}
		return Keep, time.Time{}
	case Untagged:
		return Mark, time.Time{}
	case Stale, Dead:
	}
	if due = s.since.Add(transition); !now.After(due) {
		return Keep, due
	}
	if s.state(dead) == Dead {
		return Delete, time.Time{}
	}
	return Kill, time.Time{}
}
