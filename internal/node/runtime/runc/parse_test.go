package runc

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stormcell/stormcell/internal/node/runtime"
)

func TestParseExit(t *testing.T) {
	tests := []struct {
		name, content string
		want          runtime.Exit
		err           error
	}{
		{"success", "0", runtime.Exit{}, nil},
		{"code", "7", runtime.Exit{Code: 7}, nil},
		{"line end", "7\n", runtime.Exit{Code: 7}, nil},
		{"SIGKILL", "137", runtime.Exit{Code: 137, Signal: 9}, nil},
		{"SIGTERM", "143", runtime.Exit{Code: 143, Signal: 15}, nil},
		{"128 is no signal", "128", runtime.Exit{Code: 128}, nil},
		{"the last signal", "192", runtime.Exit{Code: 192, Signal: 64}, nil},
		{"above all signals", "255", runtime.Exit{Code: 255}, nil},
		{"conmon does not know", "-1", runtime.Exit{Code: runtime.UnknownCode}, nil},
		{"empty", "", runtime.Exit{}, errMalformedExit},
		{"too high", "256", runtime.Exit{}, errMalformedExit},
		{"text", "killed", runtime.Exit{}, errMalformedExit},
		{"two", "0\n1", runtime.Exit{}, errMalformedExit},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseExit(tt.content)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error = %v, want %v", err, tt.err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzParseExit(f *testing.F) {
	f.Add("0")
	f.Add("137\n")
	f.Add("-1")
	f.Fuzz(func(t *testing.T, content string) {
		e, err := parseExit(content)
		if err == nil && e.Code != runtime.UnknownCode && (e.Code < 0 || e.Code > 255 || e.Signal != 0 && e.Code != 128+e.Signal) {
			t.Fatalf("%q became %+v", content, e)
		}
	})
}
