package worker

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	good := Spec{
		ID: "1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb", Port: 6703, TopologyID: "wc1-2-1608581491",
		User: "alice", Command: []string{"java"},
	}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	if id := good.ContainerID(); id != "6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb" || !ValidContainerID(id) {
		t.Errorf("container id %q", id)
	}
	for name, change := range map[string]func(*Spec){
		"id with a path":         func(s *Spec) { s.ID = "../../../../../../../../../etc/passwd" },
		"id in upper case":       func(s *Spec) { s.ID = strings.ToUpper(s.ID) },
		"id with a line break":   func(s *Spec) { s.ID += "\n" },
		"no id":                  func(s *Spec) { s.ID = "" },
		"port 0":                 func(s *Spec) { s.Port = 0 },
		"port 65536":             func(s *Spec) { s.Port = 65536 },
		"topology with a path":   func(s *Spec) { s.TopologyID = "a/../b" },
		"topology of dots":       func(s *Spec) { s.TopologyID = ".." },
		"topology too long":      func(s *Spec) { s.TopologyID = strings.Repeat("a", 254) },
		"no topology":            func(s *Spec) { s.TopologyID = "" },
		"user with an option":    func(s *Spec) { s.User = "-r" },
		"user with a line break": func(s *Spec) { s.User = "alice\nroot" },
		"user with a path":       func(s *Spec) { s.User = "a/b" },
		"no user":                func(s *Spec) { s.User = "" },
		"no command":             func(s *Spec) { s.Command = nil },
		"a long command":         func(s *Spec) { s.Command = []string{"java", strings.Repeat("x", MaxCommand-3)} },
		"a long value":           func(s *Spec) { s.Env = []EnvVar{{"A", strings.Repeat("x", MaxEnv)}} },
		"many variables":         func(s *Spec) { s.Env = slices.Repeat([]EnvVar{{"A", "1234567"}}, MaxEnv/8+1) },
		"image leads out":        func(s *Spec) { s.Image.Tag = "../x" },
		"image is a slash":       func(s *Spec) { s.Image.Tag = "/" },
		"image is an option":     func(s *Spec) { s.Image.Tag = "-" },
	} {
		t.Run(name, func(t *testing.T) {
			s := good
			if change(&s); !errors.Is(s.Validate(), ErrInvalid) {
				t.Errorf("%+v is accepted", s)
			}
		})
	}
	good.Command, good.Env = []string{"java", strings.Repeat("x", MaxCommand-4)}, []EnvVar{{"A", strings.Repeat("x", MaxEnv-1)}}
	good.Image.Tag = "storm/rhel7:dev_current"
	if err := good.Validate(); err != nil {
		t.Errorf("as long as can be: %v", err)
	}
}

func TestValidContainerID(t *testing.T) {
	for _, id := range []string{"", "..", "6703", "6703-", "x-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb", "670300-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb", "6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb/.."} {
		if ValidContainerID(id) {
			t.Errorf("%q is accepted", id)
		}
	}
}

func TestParseContainerID(t *testing.T) {
	const id = "6703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb"
	if s, err := ParseContainerID(id); err != nil || s.ContainerID() != id || s.Port != 6703 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, id := range []string{"", "..", "06703-1a23ca4b-6062-4d08-8ac3-b09e7d35e7cb", "6703-../../../../etc/passwd"} {
		if s, err := ParseContainerID(id); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q is accepted: %+v", id, s)
		}
	}
}
