// Command probe tells the e2e suite what there is on a node. It runs in a
// privileged pod with the node's processes, which it leaves as the node-agent
// does.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/stormcell/stormcell/internal/node/hostns"
	"github.com/stormcell/stormcell/test/census"
)

const usage = `usage: probe idle            wait for a signal, as the pod's first process
       probe census PLACES   list what there is of workers; PLACES is census.Places as JSON
       probe read PATTERN    print the files that match, one after the other
       probe process PID     print the start time of a process`

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string, w io.Writer) error {
	switch {
	case len(args) == 1 && args[0] == "idle":
		end := make(chan os.Signal, 1)
		signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
		<-end
		return nil
	case len(args) != 2:
		return errors.New(usage)
	}
	if _, err := hostns.Leave(); err != nil {
		return err
	}
	switch args[0] {
	case "census":
		return list(w, args[1])
	case "read":
		return read(w, args[1])
	case "process":
		return process(w, args[1])
	default:
		return errors.New(usage)
	}
}

func list(w io.Writer, places string) error {
	var p census.Places
	if err := json.Unmarshal([]byte(places), &p); err != nil {
		return fmt.Errorf("places %s: %w", places, err)
	}
	c, err := p.Count()
	if err != nil {
		return err
	}
	for _, name := range c.Names() {
		if _, err := fmt.Fprintln(w, name); err != nil {
			return err
		}
	}
	return nil
}

func read(w io.Writer, pattern string) error {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return fmt.Errorf("files %s: %w", pattern, err)
	}
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		if _, err := w.Write(content); err != nil {
			return err
		}
	}
	return nil
}

func process(w io.Writer, pid string) error {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return err
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	const startTime = 19 // proc(5) counts it as the 22nd field, the state being the third
	fields := strings.Fields(after)
	if len(fields) <= startTime {
		return fmt.Errorf("process %s: its stat is %q", pid, stat)
	}
	_, err = fmt.Fprintln(w, fields[startTime])
	return err
}
