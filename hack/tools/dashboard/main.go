// Command dashboard checks that a file is a dashboard as Grafana's own schema
// has it: fields that it does not know, or that are missing, are named.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	if err := check(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: dashboard FILE")
	}
	content, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	plugins.RegisterDefaultPlugins() // the kinds of panels, and of queries
	var d dashboard.Dashboard
	// It returns a list of errors as one, also an empty list.
	if err := d.UnmarshalJSONStrict(content); err != nil && err.Error() != "" {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return d.Validate()
}
