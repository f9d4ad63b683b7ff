package main

import (
	"testing"

	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/internal/node/worker"
)

func TestStorageLimit(t *testing.T) {
	for _, tt := range []struct {
		name          string
		least, most   int64
		worker, limit int64
	}{
		{"the worker's own", 10, 100, 50, 50},
		{"the default", 10, 100, 0, 10},
		{"more than there is", 10, 100, 1 << 60, 100},
		{"no default", 0, 100, 0, 100},
		{"no limit", 0, 0, 0, 0},
		{"no most", 10, 0, 1 << 60, 1 << 60},
	} {
		conf := config.Worker{StorageDefaultBytes: tt.least, StorageMaxBytes: tt.most}
		if limit := storageLimit(conf, worker.Spec{StorageBytes: tt.worker}); limit != tt.limit {
			t.Errorf("%s: %d, want %d", tt.name, limit, tt.limit)
		}
	}
}
