// Kubectl-storm is the plugin "kubectl storm": it shows Storm workers, what they
// use and why they do not run, reads their logs, and profiles them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/stormcell/stormcell/cmd/kubectl-storm/internal/screen"
)

// version is set by the linker.
var version = "unknown"

// exitInterrupted is what shells expect of a program that SIGINT ended.
const exitInterrupted = 130

// completer is the name by which kubectl looks for a program that completes
// command lines of this plugin: a link to it.
const completer = "kubectl_complete-storm"

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot(genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr})
	root.SetArgs(arguments(os.Args))
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	default:
		fmt.Fprintln(os.Stderr, "error:", screen.CleanLines(err.Error()))
		return 1
	}
}

// arguments are those for the root command.
func arguments(args []string) []string {
	if strings.TrimSuffix(filepath.Base(args[0]), ".exe") == completer {
		return append([]string{cobra.ShellCompRequestCmd}, args[1:]...)
	}
	return args[1:]
}
