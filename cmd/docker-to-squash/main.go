// Docker-to-squash puts container images into an image store, as squashfs
// layers that nodes mount. It takes the place of Storm's docker-to-squash.py.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker.
var version = "unknown"

// exitInterrupted is what shells expect of a program that SIGINT ended.
const exitInterrupted = 130

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newRoot().ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "docker-to-squash: interrupted; the tags of the store are as they were")
		return exitInterrupted
	default:
		fmt.Fprintln(os.Stderr, "docker-to-squash:", err)
		return 1
	}
}
