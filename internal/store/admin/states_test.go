package admin

import (
	"testing"
	"time"
)

func TestLifeCycle(t *testing.T) {
	const week = 7 * 24 * time.Hour
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, tt := range map[string]struct {
		seen   sighting
		state  State
		action Action
		due    time.Time
	}{
		"tagged":                       {sighting{tagged: true, exists: true, mode: 0o444}, Tagged, Keep, time.Time{}},
		"tagged, was stale":            {sighting{tagged: true, exists: true, mode: 0o444, marked: true, since: ago(week)}, Tagged, Revive, time.Time{}},
		"tagged, was dead":             {sighting{tagged: true, exists: true, mode: 0o400, marked: true, since: ago(9 * week)}, Tagged, Revive, time.Time{}},
		"tagged and hidden, no marker": {sighting{tagged: true, exists: true, mode: 0o400}, Tagged, Revive, time.Time{}},
		"no tag":                       {sighting{exists: true, mode: 0o444}, Untagged, Mark, time.Time{}},
		"no tag and hidden, no marker": {sighting{exists: true, mode: 0o400}, Untagged, Mark, time.Time{}},
		"just stale":                   {sighting{exists: true, mode: 0o444, marked: true, since: now}, Stale, Keep, now.Add(week)},
		"stale to the second":          {sighting{exists: true, mode: 0o444, marked: true, since: ago(week)}, Stale, Keep, now},
		"stale long enough":            {sighting{exists: true, mode: 0o444, marked: true, since: ago(week + 1)}, Stale, Kill, time.Time{}},
		"stale, another mode":          {sighting{exists: true, mode: 0o644, marked: true, since: ago(2 * week)}, Stale, Kill, time.Time{}},
		"stale, a clock that is ahead": {sighting{exists: true, mode: 0o444, marked: true, since: ago(-week)}, Stale, Keep, now.Add(2 * week)},
		"just dead":                    {sighting{exists: true, mode: 0o400, marked: true, since: now}, Dead, Keep, now.Add(week)},
		"dead long enough":             {sighting{exists: true, mode: 0o400, marked: true, since: ago(week + 1)}, Dead, Delete, time.Time{}},
		"a marker of nothing":          {sighting{marked: true, since: now}, Gone, Unmark, time.Time{}},
		"a tagged marker of nothing":   {sighting{tagged: true, marked: true, since: now}, Gone, Unmark, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			action, due := tt.seen.next(0o400, now, week)
			if state := tt.seen.state(0o400); state != tt.state || action != tt.action || !due.Equal(tt.due) {
				t.Errorf("%s, %s, %v; want %s, %s, %v", state, action, due, tt.state, tt.action, tt.due)
			}
		})
	}
}
