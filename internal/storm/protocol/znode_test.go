package protocol

import (
	"bytes"
	"compress/gzip"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stormcell/stormcell/internal/storm/thrift"
)

func packed(t *testing.T, parts ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	for _, p := range parts {
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDecodeZnode(t *testing.T) {
	plain, err := thrift.Marshal(supervisor())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"packed": packed(t, plain), "not packed": plain} {
		if got, err := DecodeZnode[SupervisorInfo](content); err != nil || got.Hostname != "node-1" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	bomb := make([]byte, MaxZnode+1)
	tests := map[string]struct {
		content []byte
		want    string
	}{
		"nothing":        {nil, "znode: SupervisorInfo: the input ends too early"},
		"Storm 3's":      {append(bytes.Clone(zstdMagic), plain...), "packed with zstd"},
		"a cut one":      {packed(t, plain)[:40], "gzip: unexpected EOF"},
		"half a head":    {gzipMagic, "gzip: unexpected EOF"},
		"a bomb":         {packed(t, bomb), "more than 33554432 bytes"},
		"another struct": {packed(t, []byte{0}), "znode: SupervisorInfo.TimeSecs: required, but unset"},
	}
	for name, tt := range tests {
		if _, err := DecodeZnode[SupervisorInfo](tt.content); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, not %q", name, err, tt.want)
		}
	}
}

// TestEncodeZnodeRefuses has what would end Nimbus.
func TestEncodeZnodeRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(*SupervisorInfo)
		want   string
	}{
		"no slots":       {func(s *SupervisorInfo) { s.Meta = nil }, "SupervisorInfo.Meta: required, but unset"},
		"no used ports":  {func(s *SupervisorInfo) { s.UsedPorts = nil }, "SupervisorInfo.UsedPorts: required, but unset"},
		"no resources":   {func(s *SupervisorInfo) { s.ResourcesMap = nil }, "SupervisorInfo.ResourcesMap: required, but unset"},
		"no host's name": {func(s *SupervisorInfo) { s.Hostname = "\xff" }, "SupervisorInfo.Hostname: not UTF-8"},
		"no number":      {func(s *SupervisorInfo) { s.ResourcesMap["memory.mb"] = math.NaN() }, thrift.ErrChanged.Error()},
		"too much":       {func(s *SupervisorInfo) { s.Version = strings.Repeat("v", MaxZnode) }, "more than 33554432 bytes"},
	}
	for name, tt := range tests {
		s := supervisor()
		tt.change(&s)
		if b, err := EncodeZnode(s); b != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, not %q", name, err, tt.want)
		}
	}
}

// TestStorm3Heartbeat shows what a worker of another major version is told.
func TestStorm3Heartbeat(t *testing.T) {
	newer := struct {
		StormID   string         `thrift:"1"`
		Executors []ExecutorInfo `thrift:"2,required"`
		TimeSecs  int64          `thrift:"3"`
	}{StormID: topology, Executors: []ExecutorInfo{}}
	b, err := thrift.Marshal(newer)
	if err != nil {
		t.Fatal(err)
	}
	_, err = thrift.Unmarshal[SupervisorWorkerHeartbeat](b)
	if err == nil || err.Error() != "SupervisorWorkerHeartbeat.TimeSecs: i64 instead of i32: written by another version of Storm?" {
		t.Error(err)
	}
}

func TestExceptionsAreErrors(t *testing.T) {
	b, err := GetLocalAssignmentForStorm.Reply(thrift.Message{}, GetLocalAssignmentResult{NotAlive: &NotAliveError{Msg: "wc"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = GetLocalAssignmentForStorm.Answer(b, 0)
	if e, ok := errors.AsType[*NotAliveError](err); !ok || e.Msg != "wc" {
		t.Errorf("%v", err)
	}
}
