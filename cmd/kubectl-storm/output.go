package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// The forms of output, beside the usual one for people.
const (
	asJSON = "json"
	asYAML = "yaml"
	asWide = "wide"
	asName = "name"
)

// outputFlag is --output.
type outputFlag struct {
	form  string
	forms []string
}

// addOutput gives a command --output with some of the forms.
func addOutput(cmd *cobra.Command, forms ...string) *outputFlag {
	o := &outputFlag{forms: forms}
	cmd.Flags().VarP(o, "output", "o", "form of the output: "+strings.Join(forms, ", "))
	register(cmd, "output", forms)
	return o
}

// String implements pflag.Value.
func (o *outputFlag) String() string { return o.form }

// Type implements pflag.Value.
func (o *outputFlag) Type() string { return "form" }

// Set implements pflag.Value.
func (o *outputFlag) Set(form string) error {
	if !slices.Contains(o.forms, form) {
		return fmt.Errorf("must be one of %s", strings.Join(o.forms, ", "))
	}
	o.form = form
	return nil
}

// forMachine tells whether programs read the output.
func (o *outputFlag) forMachine() bool { return o.form == asJSON || o.form == asYAML }

// write writes v as JSON or YAML.
func (o *outputFlag) write(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err == nil && o.form == asYAML {
		text, err = yaml.JSONToYAML(text)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", o.form, err)
	}
	_, err = fmt.Fprintln(w, strings.TrimSuffix(string(text), "\n"))
	return err
}
