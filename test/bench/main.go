// Bench measures the figures of docs/design.md against their goals. Both sides
// of a ratio are measured in the same run on the same machine; no number is
// ever taken from an earlier run.
//
//	go run ./test/bench [-rows conversion,...] [-json FILE]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

// row is a measurement, of one or more lines of the table. A new one gets a file
// of its own and a place in rows.
type row interface {
	// name is what -rows calls it.
	name() string
	// register adds the row's own flags.
	register(set *flag.FlagSet)
	// measure measures both sides. It tells of its progress on log.
	measure(ctx context.Context, log io.Writer) ([]figure, error)
}

func rows() []row {
	return []row{&conversion{}, &warmStart{}, &burst{}, &idle{}, &localization{}, &coldStart{}}
}

// figure is what a row has measured.
type figure struct {
	Name string `json:"name"`
	// Ours and Peer are the two measurements, in Unit.
	Ours float64 `json:"ours"`
	Peer float64 `json:"peer"`
	Unit string  `json:"unit"`
	// Ratio is how many times better ours is, or what the goal speaks of.
	Ratio float64 `json:"ratio"`
	Goal  string  `json:"goal"`
	Pass  bool    `json:"pass"`
	// Details say what was compared, and numbers beside the main one.
	Details []string `json:"details"`
}

// result is the document that -json writes.
type result struct {
	Machine machine  `json:"machine"`
	Rows    []figure `json:"rows"`
}

// errMissed is a run whose figures miss a goal.
var errMissed = errors.New("a goal was missed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The cluster of package stack has much to say to a log.
	ctrl.SetLogger(logr.Discard())
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, log io.Writer) error {
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	jsonFile := set.String("json", "", "also write the figures to this `file`")
	names := set.String("rows", "", "measure these `rows` only, comma-separated")
	all := rows()
	for _, r := range all {
		r.register(set)
	}
	if err := set.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(all, *names)
	if err != nil {
		return err
	}
	res := result{Machine: thisMachine(ctx)}
	fmt.Fprintln(log, res.Machine)
	for _, r := range chosen {
		figures, err := r.measure(ctx, log)
		if err != nil {
			return fmt.Errorf("row %s: %w", r.name(), err)
		}
		res.Rows = append(res.Rows, figures...)
	}
	if err := printTable(out, res); err != nil {
		return err
	}
	if *jsonFile != "" {
		if err := writeJSON(*jsonFile, res); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(res.Rows, func(f figure) bool { return !f.Pass }) {
		return errMissed
	}
	return nil
}

func choose(all []row, names string) ([]row, error) {
	if names == "" {
		return all, nil
	}
	var chosen []row
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(r row) bool { return r.name() == name })
		if i < 0 {
			var known []string
			for _, r := range all {
				known = append(known, r.name())
			}
			return nil, fmt.Errorf("-rows: there is no row %q, only %s", name, strings.Join(known, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func printTable(w io.Writer, res result) error {
	fmt.Fprintln(w, res.Machine)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FIGURE\tOURS\tPEER\tRATIO\tGOAL\t")
	for _, f := range res.Rows {
		verdict := "pass"
		if !f.Pass {
			verdict = "MISSED"
		}
		fmt.Fprintf(table, "%s\t%.2f %s\t%.2f %s\t%.2f\t%s\t%s\n", f.Name, f.Ours, f.Unit, f.Peer, f.Unit, f.Ratio, f.Goal, verdict)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, f := range res.Rows {
		for _, d := range f.Details {
			fmt.Fprintf(w, "  %s: %s\n", f.Name, d)
		}
	}
	return nil
}

func writeJSON(name string, res result) error {
	content, err := json.MarshalIndent(res, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(content, '\n'), 0o644)
}
