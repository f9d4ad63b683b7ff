package install

import (
	"errors"

	"github.com/stormcell/stormcell/internal/config"
)

// readable tells whether the daemons can read a ConfigMap's files.
func readable(data map[string]string) error {
	_, _, err := config.Parse("storm.yaml", []byte(data["storm.yaml"]))
	_, _, launcherErr := config.ParseLauncher("worker-launcher.cfg", []byte(data["worker-launcher.cfg"]))
	return errors.Join(err, launcherErr)
}
