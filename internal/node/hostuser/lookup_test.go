package hostuser

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const getent = "/usr/bin/getent"

func TestPolicy(t *testing.T) {
	policy := Policy{MinUserID: 1000, Banned: []string{"bin", "hdfs"}}
	tests := []struct {
		name string
		user User
		says string // part of the refusal; empty if allowed
	}{
		{"ordinary", User{Name: "alice", UID: 1000, GID: 1000}, ""},
		{"root", User{Name: "root"}, "is root"},
		{"root under another name", User{Name: "toor", UID: 0}, "is root"},
		{"the name root with another uid", User{Name: "root", UID: 5000}, "is root"},
		{"system account", User{Name: "daemon", UID: 999}, "min.user.id 1000"},
		{"banned", User{Name: "hdfs", UID: 2000}, "banned.users"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := policy.Check(tt.user)
			if tt.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("error = %v, want a refusal with %q", err, tt.says)
			}
		})
	}
}

func TestLookupRealNameService(t *testing.T) {
	d := New(Options{Getent: getent, Policy: Policy{MinUserID: 1000}})
	u, err := d.Lookup(t.Context(), "nobody")
	if err != nil {
		t.Fatal(err)
	}
	if u.Name != "nobody" || u.UID != 65534 || slices.Contains(u.Groups, u.GID) {
		t.Errorf("got %+v", u)
	}
	for _, name := range []string{"root", "daemon", "no-such-user"} {
		if _, err := d.Lookup(t.Context(), name); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: error = %v, want ErrRefused", name, err)
		}
	}
	if _, err := d.Lookup(t.Context(), "no-such-user"); !errors.Is(err, ErrUnknown) {
		t.Errorf("error = %v, want ErrUnknown", err)
	}
}

// program writes a shell script that stands for getent.
func program(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "getent")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLookupRemembersForItsTime(t *testing.T) {
	count := filepath.Join(t.TempDir(), "count")
	now := time.Now()
	d := newDirectory(Options{
		Getent: program(t, `echo x >>`+count+`
case $2 in passwd) echo "$3:x:2000:2000:::" ;; group) echo "$3:x:7:alice" ;; *) echo "$3 7" ;; esac`),
		TTL: 30 * time.Second,
	}, func() time.Time { return now })
	asked := func() int {
		t.Helper()
		if _, err := d.Lookup(t.Context(), "alice"); err != nil {
			t.Fatal(err)
		}
		if gid, err := d.LookupGroup(t.Context(), "storm"); err != nil || gid != 7 {
			t.Fatal(gid, err)
		}
		b, err := os.ReadFile(count)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), "x")
	}
	first := asked()
	if again := asked(); again != first {
		t.Errorf("asked %d times within the time, want %d", again, first)
	}
	now = now.Add(30 * time.Second)
	if later := asked(); later != 2*first {
		t.Errorf("asked %d times after it, want %d", later, 2*first)
	}
}

func TestLookupFaults(t *testing.T) {
	tests := []struct{ name, body, says string }{
		{"name service broken", "exit 3", "exit status 3"},
		{"endless answer", "exec cat /dev/zero", "longer than"},
		{"hangs", "sleep 60", "does not answer"},
		{"groups fail", `[ "$2" = passwd ] && echo "$3:x:2000:2000:::"`, "getent initgroups"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := New(Options{Getent: program(t, tt.body)}).Lookup(ctx, "alice")
			if err == nil || errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error = %v, want a passing one with %q", err, tt.says)
			}
		})
	}
}

// TestBannedGroups: workers have none of the groups that are banned, by whatever name the
// user is a member of them, nor root's; what users share data by stays.
func TestBannedGroups(t *testing.T) {
	// The host knows docker, and disk by another name, too; it has no lxd.
	const groups = `[ "$2" = group ] && { echo "docker:x:998:alice"; echo "disk:x:6:"; exit 2; }`
	tests := []struct {
		name, passwd, initgroups string
		banned                   []string
		want                     []int
		dropped                  string
		refused                  string
	}{
		{"ordinary groups", "2000:2000", "2000 3001 3002", []string{"docker", "disk", "lxd"}, []int{3001, 3002}, "", ""},
		{"banned ones", "2000:2000", "2000 998 3001 6", []string{"docker", "disk", "lxd"}, []int{3001}, "docker,disk", ""},
		{"root's, though none is named", "2000:2000", "2000 0 998", nil, []int{998}, "root", ""},
		{"primary group of root", "2000:0", "0", nil, nil, "", `the group of user "alice" is root (gid 0)`},
		{"primary group that is banned", "2000:998", "998", []string{"docker"}, nil, "", "is docker (gid 998), which is in banned.groups of worker-launcher.cfg"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var dropped string
			d := New(Options{
				Getent: program(t, groups+`
case $2 in passwd) echo "$3:x:`+tt.passwd+`:::" ;; initgroups) echo "$3 `+tt.initgroups+`" ;; esac`),
				Policy:  Policy{MinUserID: 1000, BannedGroups: tt.banned},
				Dropped: func(_ string, groups []string) { dropped = strings.Join(groups, ",") },
			})
			u, err := d.Lookup(t.Context(), "alice")
			if tt.refused != "" {
				if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("%+v, %v, want a refusal with %q", u, err, tt.refused)
				}
				return
			}
			if err != nil || !slices.Equal(u.Groups, tt.want) || dropped != tt.dropped {
				t.Errorf("%+v, %v, dropped %q; want groups %v, without %q", u, err, dropped, tt.want, tt.dropped)
			}
		})
	}
}

// TestBannedGroupsThatAreNotKnown: without an answer of the name service, nobody starts.
func TestBannedGroupsThatAreNotKnown(t *testing.T) {
	d := New(Options{
		Getent: program(t, `case $2 in passwd) echo "$3:x:2000:2000:::" ;; initgroups) echo "$3 2000" ;; *) exit 3 ;; esac`),
		Policy: Policy{MinUserID: 1000, BannedGroups: []string{"docker"}},
	})
	if _, err := d.Lookup(t.Context(), "alice"); err == nil || errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "look up banned.groups") {
		t.Errorf("%v, want an error that may pass", err)
	}
}

// TestBannedGroupsOfThisHost: getent takes all of them at once.
func TestBannedGroupsOfThisHost(t *testing.T) {
	d := New(Options{Getent: getent, Policy: Policy{BannedGroups: []string{"no-such-group", "daemon", "disk"}}})
	banned, err := d.bannedGroups(t.Context())
	if err != nil || banned[0] != "root" || banned[1] != "daemon" || len(banned) != 3 {
		t.Errorf("%v, %v", banned, err)
	}
}

// TestLookupGroup: groups come from the same name service as users, so one of
// LDAP is found, and one that nobody has is an error.
func TestLookupGroup(t *testing.T) {
	d := New(Options{Getent: getent})
	if gid, err := d.LookupGroup(t.Context(), "daemon"); err != nil || gid != 1 {
		t.Errorf("daemon: %d, %v", gid, err)
	}
	_, err := d.LookupGroup(t.Context(), "no-such-group")
	if !errors.Is(err, ErrUnknownGroup) || !strings.Contains(err.Error(), `create it on this node, or find out why "getent group no-such-group"`) {
		t.Errorf("no-such-group: error = %v, want ErrUnknownGroup with a cure", err)
	}

	ldap := New(Options{Getent: program(t, `[ "$2 $3" = "group hadoop" ] && echo "hadoop:*:70001:alice,bob"`)})
	if gid, err := ldap.LookupGroup(t.Context(), "hadoop"); err != nil || gid != 70001 {
		t.Errorf("a group that is in no /etc/group: %d, %v", gid, err)
	}
	broken := New(Options{Getent: program(t, "exit 3")})
	if _, err := broken.LookupGroup(t.Context(), "hadoop"); err == nil || errors.Is(err, ErrUnknownGroup) {
		t.Errorf("name service broken: %v, want an error that may pass", err)
	}
}
