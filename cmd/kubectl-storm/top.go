package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/cmd/kubectl-storm/internal/screen"
	"github.com/stormcell/stormcell/internal/backoff"
)

const topHelp = `Shows the workers that use most, and refreshes every two seconds until you
interrupt it. If the output is not a terminal, it shows them once.`

// refresh is the time between two screens.
const refresh = 2 * time.Second

// What top can sort by.
const (
	byCPU    = "cpu"
	byMemory = "memory"
)

func newTop(p *plugin) *cobra.Command {
	m := &monitor{plugin: p}
	cmd := &cobra.Command{
		Use:   "top [TOPOLOGY]",
		Short: "Show the workers that use most, continuously",
		Long:  topHelp,
		Example: `  kubectl storm top
  kubectl storm top clock-1-1764000000 --sort-by memory
  kubectl storm top -A -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.completeTopology,
	}
	m.addFlags(cmd)
	sortBy := cmd.Flags().String("sort-by", byCPU, "what to sort by: cpu or memory")
	register(cmd, "sort-by", []string{byCPU, byMemory})
	output := addOutput(cmd, asWide, asJSON, asYAML)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *sortBy != byCPU && *sortBy != byMemory {
			return fmt.Errorf("--sort-by %s: must be %s or %s", *sortBy, byCPU, byMemory)
		}
		if err := m.begin(args); err != nil {
			return err
		}
		t := &top{monitor: m, sortBy: *sortBy}
		if !p.colored() || output.forMachine() {
			return t.once(cmd.Context(), output)
		}
		return t.run(cmd.Context(), output.form == asWide)
	}
	return cmd
}

// top shows workers, those first that use most.
type top struct {
	*monitor
	sortBy string
}

// once shows them once.
func (t *top) once(ctx context.Context, output *outputFlag) error {
	if err := t.list(ctx); err != nil {
		return err
	}
	if t.sample(ctx) {
		if err := backoff.Wait(ctx, samplePause); err != nil {
			return err
		}
		t.sample(ctx)
	}
	return t.write(output)
}

// write shadows the monitor's, which sorts by name.
func (t *top) write(output *outputFlag) error {
	t.order()
	return t.monitor.write(output)
}

// order sorts the workers by what they use, most first; the others come last.
func (t *top) order() {
	rows := t.rows()
	use := make(map[string]int64, len(rows))
	for _, r := range rows {
		use[r.Namespace+"/"+r.Name] = t.use(r.Usage)
	}
	slices.SortStableFunc(t.workers, func(a, b api.StormWorker) int {
		return cmp.Compare(use[b.Namespace+"/"+b.Name], use[a.Namespace+"/"+a.Name])
	})
}

func (t *top) use(u *usage) int64 {
	switch {
	case u == nil:
		return -1
	case t.sortBy == byMemory:
		return u.MemoryBytes
	case u.CPUMillis == nil:
		return -1
	default:
		return *u.CPUMillis
	}
}

// What a terminal does with the other screen that most have, where nothing
// scrolls and from which one comes back; long lines are cut there, not wrapped.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[?7l"
	leaveScreen = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	toBegin     = "\x1b[H"
	clearLine   = "\x1b[K"
	clearRest   = "\x1b[J"
)

// run shows screens until ctx ends, which is no error.
func (t *top) run(ctx context.Context, wide bool) error {
	_, _ = io.WriteString(t.Out, enterScreen)
	defer func() { _, _ = io.WriteString(t.Out, leaveScreen) }()
	err := t.show(ctx, wide)
	select {
	case <-ctx.Done():
		return nil
	default:
		return err
	}
}

// show shows screens until one cannot be made, or ctx ends.
func (t *top) show(ctx context.Context, wide bool) error {
	pause := samplePause // to the first figures, then refresh
	for {
		if err := t.list(ctx); err != nil {
			return err
		}
		t.sample(ctx)
		lines := t.lines(wide, t.height())
		_, _ = io.WriteString(t.Out, toBegin+strings.Join(lines, clearLine+"\n")+clearLine+clearRest)
		if err := backoff.Wait(ctx, pause); err != nil {
			return err
		}
		pause = refresh
	}
}

// height is how many lines the terminal has.
func (t *top) height() int {
	if f, ok := t.Out.(*os.File); ok {
		if _, height, err := term.GetSize(int(f.Fd())); err == nil && height > 0 {
			return height
		}
	}
	return 24
}

// lines are a screen: a line about all, troubles, and as many workers as fit.
func (t *top) lines(wide bool, height int) []string {
	t.order()
	rows, now := t.rows(), time.Now()
	lines := []string{summary(rows, now)}
	if len(t.troubles) > 0 {
		lines = append(lines, screen.Paint(screen.Clean("some usage is not known: "+strings.Join(t.troubles, "; ")), screen.Amber))
	}
	if len(rows) == 0 {
		return append(lines, "", screen.Clean(t.nobody()))
	}
	lines = append(append(lines, ""), t.table(rows, wide, now).Lines(true)...)
	return lines[:min(len(lines), height)]
}

// summary tells of all workers in a line.
func summary(rows []workerRow, now time.Time) string {
	var running, memory, millis int64
	for _, r := range rows {
		if r.Ready {
			running++
		}
		if r.Usage != nil {
			memory += r.Usage.MemoryBytes
			if r.Usage.CPUMillis != nil {
				millis += *r.Usage.CPUMillis
			}
		}
	}
	return fmt.Sprintf("%s   %d of %d workers run, with %.2f processors and %s of memory",
		now.Format(time.TimeOnly), running, len(rows), float64(millis)/1000, bytesText(memory))
}
