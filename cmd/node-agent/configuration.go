package main

import (
	"errors"
	"log/slog"

	"github.com/stormcell/stormcell/cmd/internal/daemon"
	"github.com/stormcell/stormcell/internal/config"
)

// configuration is what the two files of the node say. Parts that follow
// storm.yaml get watcher.Current, and the others read first.
type configuration struct {
	first    *config.Config
	launcher *config.Launcher
	watcher  *config.Watcher
}

// configure reads both files. The watcher does nothing until it runs.
func (o *options) configure(log *slog.Logger) (*configuration, error) {
	launcher, notes, launcherErr := o.launcher()
	daemon.LogNotes(log, notes)
	var read []config.Option
	if launcherErr == nil {
		read = append(read, config.RunRoot(launcher.RunRoot))
	}
	first, notes, err := config.Load(o.Config, read...)
	daemon.LogNotes(log, notes)
	if err := errors.Join(err, launcherErr); err != nil {
		return nil, err
	}
	watcher := config.NewWatcher(o.Config, first, config.WatchOptions{
		Read: read,
		// What runs was put where the first configuration says, and must be found again.
		Pin:    true,
		Accept: func(c *config.Config) error { return checkProfile(c.Worker.SeccompProfile, log) },
		Reloaded: func(_ *config.Config, notes []string) {
			log.Info("configuration reloaded", "file", o.Config)
			daemon.LogNotes(log, notes)
		},
		Failed: func(err error) { log.Error("configuration", "error", err) },
	})
	return &configuration{first: first, launcher: launcher, watcher: watcher}, nil
}
