package hostuser

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePasswd(t *testing.T) {
	tests := []struct {
		name, out string
		want      User
		err       error
	}{
		{"a user", "storm:x:31315:100:Storm,,,:/home/storm:/bin/bash\n", User{Name: "storm", UID: 31315, GID: 100}, nil},
		{"empty comment and shell", "storm::1000:1000:::\n", User{Name: "storm", UID: 1000, GID: 1000}, nil},
		{"nothing", "", User{}, errMalformed},
		{"cut off line", "storm:x:31315:100:Storm,,,:/home/storm:/bin/bash", User{}, errMalformed},
		{"two lines", "storm:x:1:1:::\nstorm:x:0:0:::\n", User{}, errMalformed},
		{"too few fields", "storm:x:31315:100\n", User{}, errMalformed},
		{"negative uid", "storm:x:-1:100:::\n", User{}, errMalformed},
		{"uid that means none", "storm:x:4294967295:100:::\n", User{}, errMalformed},
		{"uid over 32 bits wraps to root", "storm:x:4294967296:100:::\n", User{}, errMalformed},
		{"gid with a blank", "storm:x:1000: 100:::\n", User{}, errMalformed},
		{"other spelling", "Storm:x:1000:100:::\n", User{}, ErrRefused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parsePasswd(tt.out, "storm")
			if !errors.Is(err, tt.err) {
				t.Fatalf("error = %v, want %v", err, tt.err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestParseGroups(t *testing.T) {
	tests := []struct {
		name, out string
		want      []int
		err       error
	}{
		{"none", "storm                \n", nil, nil},
		{"some, without the primary and doubles", "storm   5548 100 27 5548\n", []int{5548, 27}, nil},
		{"other user", "root 0\n", nil, errMalformed},
		{"no name", "\n", nil, errMalformed},
		{"not a number", "storm wheel\n", nil, errMalformed},
		{"two lines", "storm 1\nstorm 2\n", nil, errMalformed},
		{"too many", "storm" + strings.Repeat(" 7", maxGroups+1) + "\n", nil, errMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseGroups(tt.out, "storm", 100)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error = %v, want %v", err, tt.err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestParseGroup(t *testing.T) {
	tests := []struct {
		name, out string
		want      int
		err       error
	}{
		{"with members", "storm:x:5548:alice,bob\n", 5548, nil},
		{"of LDAP, without a member", "storm:*:5548:\n", 5548, nil},
		{"nothing", "", 0, errMalformed},
		{"cut off line", "storm:x:5548:al", 0, errMalformed},
		{"two lines", "storm:x:1:\nstorm:x:0:\n", 0, errMalformed},
		{"a line of passwd", "storm:x:31315:100:::\n", 0, errMalformed},
		{"gid over 32 bits wraps to root", "storm:x:4294967296:\n", 0, errMalformed},
		{"other spelling", "Storm:x:5548:\n", 0, ErrUnknownGroup},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseGroup(tt.out, "storm")
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%d, %v, want %d, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func FuzzParseGroup(f *testing.F) {
	f.Add("storm:x:5548:alice,bob\n")
	f.Add("storm:x:4294967296:\n")
	f.Fuzz(func(t *testing.T, out string) {
		gid, err := parseGroup(out, "storm")
		if err == nil && (gid < 0 || !strings.HasPrefix(out, "storm:") || strings.Count(out, "\n") != 1) {
			t.Fatalf("accepted %q as %d", out, gid)
		}
	})
}

func FuzzParsePasswd(f *testing.F) {
	f.Add("storm:x:31315:100:Storm,,,:/home/storm:/bin/bash\n")
	f.Add("storm:x:4294967296:0:::\n")
	f.Fuzz(func(t *testing.T, out string) {
		u, err := parsePasswd(out, "storm")
		if err != nil {
			return
		}
		if u.Name != "storm" || u.UID < 0 || u.GID < 0 {
			t.Fatalf("accepted %q as %+v", out, u)
		}
		if !strings.HasPrefix(out, "storm:") || strings.Count(out, "\n") != 1 {
			t.Fatalf("accepted %q", out)
		}
	})
}

func FuzzParseGroups(f *testing.F) {
	f.Add("storm 1 2 3\n")
	f.Add("storm\n")
	f.Fuzz(func(t *testing.T, out string) {
		groups, err := parseGroups(out, "storm", 100)
		if err != nil {
			return
		}
		for _, g := range groups {
			if g < 0 || g == 100 {
				t.Fatalf("accepted %q as %v", out, groups)
			}
		}
	})
}
