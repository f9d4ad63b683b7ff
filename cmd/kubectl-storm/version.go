package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/client-go/discovery"

	connect "github.com/stormcell/stormcell/api/connect/v1alpha1"
	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/cmd/kubectl-storm/internal/screen"
)

const versionHelp = `Shows the version of this program, and of what the cluster serves. Without a
cluster, it shows only the first.`

// versions are this program's, and of what it speaks to.
type versions struct {
	Plugin     string `json:"plugin"`
	Kubernetes string `json:"kubernetes,omitempty"`
	// Objects and Connect are the versions of stormcell's two API groups.
	Objects string `json:"objects,omitempty"`
	Connect string `json:"connect,omitempty"`
}

func newVersion(p *plugin) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "version",
		Short:             "Show the version of this program, and of what the cluster serves",
		Long:              versionHelp,
		Example:           "  kubectl storm version\n  kubectl storm version -o json",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	output := addOutput(cmd, asJSON, asYAML)
	cmd.RunE = func(*cobra.Command, []string) error {
		v := versions{Plugin: version}
		if err := p.ask(&v); err != nil {
			p.note("the cluster's versions are not known: %v", err)
		}
		if output.forMachine() {
			return output.write(p.harmless(), v)
		}
		table := screen.Table{Header: []string{"PART", "VERSION"}}
		for _, row := range [][2]string{
			{"kubectl storm", v.Plugin},
			{"Kubernetes", v.Kubernetes},
			{api.GroupVersion.Group, v.Objects},
			{connect.GroupVersion.Group, v.Connect},
		} {
			table.Rows = append(table.Rows, []screen.Cell{{Text: row[0]}, {Text: orUnknown(row[1])}})
		}
		return table.Write(p.Out, p.colored())
	}
	return cmd
}

// ask asks the cluster what it serves.
func (p *plugin) ask(v *versions) error {
	config, err := p.config()
	if err != nil {
		return err
	}
	cluster, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	info, err := cluster.ServerVersion()
	if err != nil {
		return err
	}
	v.Kubernetes = info.GitVersion
	groups, err := cluster.ServerGroups()
	if err != nil {
		return err
	}
	for _, g := range groups.Groups {
		switch g.Name {
		case api.GroupVersion.Group:
			v.Objects = g.PreferredVersion.Version
		case connect.GroupVersion.Group:
			v.Connect = g.PreferredVersion.Version
		}
	}
	return nil
}
