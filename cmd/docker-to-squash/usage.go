package main

import (
	"fmt"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// usesAnnotation holds the names of the flags that matter to a command. All
// flags belong to the root, so that each may stand before the sub-command as
// with the original; a command's help shows those that it uses.
const usesAnnotation = "uses"

// The flags that go together.
var (
	hadoopFlags  = []string{"hadoop-conf", "hadoop-prefix", "keytab", "principal"}
	storeFlags   = append([]string{"store", "image-tag-to-hash"}, hadoopFlags...)
	writeFlags   = append([]string{"replication"}, storeFlags...)
	imageFlags   = []string{"platform", "pull-format"}
	limitFlags   = []string{"max-layers", "max-size"}
	convertFlags = append(append([]string{"bootstrap", "force", "working-dir", "max-unpacked-size", "check-magic-file", "magic-file"}, imageFlags...), limitFlags...)
	everyCommand = []string{"log", "output", "help"}
)

// uses notes which flags matter to a command.
func uses(cmd *cobra.Command, names ...[]string) *cobra.Command {
	all := slices.Concat(append(names, everyCommand)...)
	cmd.Annotations = map[string]string{usesAnnotation: strings.Join(all, ",")}
	return cmd
}

// matters tells whether a command uses a flag. One that says nothing, as the
// root, shows all.
func matters(cmd *cobra.Command, name string) bool {
	names, ok := cmd.Annotations[usesAnnotation]
	return !ok || slices.Contains(strings.Split(names, ","), name)
}

// flagUsages describes the flags that matter to a command.
func flagUsages(cmd *cobra.Command) string {
	set := pflag.NewFlagSet(cmd.Name(), pflag.ContinueOnError)
	add := func(f *pflag.Flag) {
		if matters(cmd, f.Name) {
			set.AddFlag(f)
		}
	}
	cmd.LocalFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	return strings.TrimRight(set.FlagUsages(), "\n")
}

var usageTemplate = template.Must(template.New("usage").Funcs(template.FuncMap{
	"flags": flagUsages,
	"pad":   func(s string, n int) string { return fmt.Sprintf("%-*s", n, s) },
}).Parse(`Usage:
{{- if .Runnable}}
  {{.UseLine}}{{end}}
{{- if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND [flags]{{end}}
{{- if .HasExample}}

Examples:
{{.Example}}{{end}}
{{- if .HasAvailableSubCommands}}{{$all := .Commands}}{{range $group := .Groups}}

{{.Title}}{{range $all}}{{if eq .GroupID $group.ID}}
  {{pad .Name 24}}{{.Short}}{{end}}{{end}}{{end}}{{end}}

Flags:
{{flags .}}
{{- if .HasAvailableSubCommands}}

"{{.CommandPath}} COMMAND --help" shows more about a command.{{end}}
`))

// usage writes how a command is used.
func usage(cmd *cobra.Command) error { return usageTemplate.Execute(cmd.OutOrStderr(), cmd) }
