// Docker-to-squash puts container images into an image store, as squashfs layers that
// nodes mount, and manages them there. It replaces Storm's docker-to-squash.py.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/stormcell/stormcell/internal/store/admin"
)

// version is set by the linker.
var version = "unknown"

// exitInterrupted is what shells expect of a program that SIGINT ended.
const exitInterrupted = 130

// exitFaults tells that verify has found faults.
const exitFaults = 2

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newRoot().ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "docker-to-squash: interrupted; each tag has its old or its new value: run the command again")
		return exitInterrupted
	case errors.Is(err, admin.ErrFaults):
		fmt.Fprintln(os.Stderr, "docker-to-squash:", err)
		return exitFaults
	default:
		fmt.Fprintln(os.Stderr, "docker-to-squash:", err)
		return 1
	}
}
