package main

import (
	"log/slog"

	"github.com/stormcell/stormcell/internal/node/seccomp"
)

// checkProfile returns an error for a storm.oci.seccomp.profile with which no
// worker would start, and warns of one with which workers will not get far.
func checkProfile(setting string, log *slog.Logger) error {
	p, err := seccomp.Load(setting)
	if err != nil {
		return err
	}
	for _, w := range seccomp.Warnings(p) {
		log.Warn("configuration", "key", "storm.oci.seccomp.profile", "problem", w)
	}
	return nil
}
