package main

import (
	"fmt"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/cmd/kubectl-storm/internal/screen"
)

// unknown stands for what is not known.
const unknown = "-"

// table shows workers to people.
func (m *monitor) table(rows []workerRow, wide bool, now time.Time) screen.Table {
	type column struct {
		title string
		cell  func(*workerRow) screen.Cell
	}
	text := func(of func(*workerRow) string) func(*workerRow) screen.Cell {
		return func(r *workerRow) screen.Cell { return screen.Cell{Text: orUnknown(of(r))} }
	}
	number := func(of func(*workerRow) string) func(*workerRow) screen.Cell {
		return func(r *workerRow) screen.Cell { return screen.Cell{Text: of(r), Right: true} }
	}
	var columns []column
	if m.everywhere {
		columns = append(columns, column{"NAMESPACE", text(func(r *workerRow) string { return r.Namespace })})
	}
	columns = append(columns, column{"NAME", text(func(r *workerRow) string { return r.Name })})
	if m.topology == "" {
		columns = append(columns, column{"TOPOLOGY", text(func(r *workerRow) string { return r.Topology })})
	}
	columns = append(columns,
		column{"PORT", number(func(r *workerRow) string { return strconv.Itoa(int(r.Port)) })},
		column{"NODE", text(func(r *workerRow) string { return r.Node })},
		column{"STATUS", statusCell},
		column{"RESTARTS", number(func(r *workerRow) string { return strconv.Itoa(int(r.Restarts)) })},
		column{"MEMORY", number(func(r *workerRow) string { return r.Usage.memory() })},
		column{"CPU", number(func(r *workerRow) string { return r.Usage.cpu() })},
		column{"AGE", number(func(r *workerRow) string { return duration.HumanDuration(now.Sub(r.Created.Time)) })},
	)
	if wide {
		columns = append(columns,
			column{"USER", text(func(r *workerRow) string { return r.User })},
			column{"PID", number(func(r *workerRow) string { return positive(r.PID) })},
			column{"THREADS", number(func(r *workerRow) string { return r.Usage.threads() })},
			column{"IMAGE", text(func(r *workerRow) string { return r.Image })},
		)
	}
	var t screen.Table
	for _, c := range columns {
		t.Header = append(t.Header, c.title)
	}
	for i := range rows {
		cells := make([]screen.Cell, len(columns))
		for j, c := range columns {
			cells[j] = c.cell(&rows[i])
		}
		t.Rows = append(t.Rows, cells)
	}
	return t
}

// statusCell colours a status: green if all is well, amber if something is under
// way, red if a person must do something.
func statusCell(r *workerRow) screen.Cell {
	cell := screen.Cell{Text: r.Status, Color: screen.Red}
	switch r.Status {
	case api.ReasonRunning, api.ReasonCompleted:
		cell.Color = screen.Green
	case unseen, api.ReasonImagePending, api.ReasonScheduled, api.ReasonLocalizing, api.ReasonStarting, api.ReasonStopping, api.ReasonRemoved:
		cell.Color = screen.Amber
	}
	return cell
}

func (u *usage) memory() string {
	if u == nil {
		return unknown
	}
	if u.MemoryLimitBytes == 0 {
		return bytesText(u.MemoryBytes)
	}
	return bytesText(u.MemoryBytes) + "/" + bytesText(u.MemoryLimitBytes)
}

func (u *usage) cpu() string {
	if u == nil || u.CPUMillis == nil {
		return unknown
	}
	used := fmt.Sprintf("%.2f", float64(*u.CPUMillis)/1000)
	if u.CPULimitMillis == 0 {
		return used
	}
	return used + "/" + strconv.FormatFloat(float64(u.CPULimitMillis)/1000, 'f', -1, 64)
}

func (u *usage) threads() string {
	if u == nil {
		return unknown
	}
	return strconv.FormatInt(u.PIDs, 10)
}

// bytesText is a number of bytes in the largest unit that leaves three digits or
// so, as Kubernetes writes it.
func bytesText(n int64) string {
	switch {
	case n < 1<<20:
		return fmt.Sprintf("%dKi", n>>10)
	case n < 10<<30:
		return fmt.Sprintf("%dMi", n>>20)
	default:
		return fmt.Sprintf("%.1fGi", float64(n)/(1<<30))
	}
}

func positive(n int64) string {
	if n <= 0 {
		return unknown
	}
	return strconv.FormatInt(n, 10)
}

func orUnknown(text string) string {
	if text == "" {
		return unknown
	}
	return text
}
