package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

const bootstrapHelp = `Creates the folders of a store and its tag file if they do not exist. What exists is
not changed, nor is anything above the store.`

func newBootstrap(f *flags) *cobra.Command {
	return uses(&cobra.Command{
		GroupID: groupStore,
		Use:     "bootstrap",
		Short:   "Create a new store",
		Long:    bootstrapHelp,
		Example: "  docker-to-squash bootstrap --store hdfs://nn:8020/containers",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.bootstrap = true
			store, err := f.openStore(cmd)
			if err != nil {
				return err
			}
			result := struct {
				Store   string `json:"store"`
				TagFile string `json:"tagFile"`
			}{store.URL(), f.tagFile}
			return f.write(cmd, result, func(w io.Writer) { fmt.Fprintf(w, "%s is set up\n", result.Store) })
		},
	}, writeFlags, []string{"bootstrap"})
}
