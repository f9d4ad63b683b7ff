package hdfs_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stormcell/stormcell/internal/store/hdfs"
)

// TestTicketCacheOfOthers: a ticket cache counts only if it is a file of our own that nobody
// else can write, since it is in /tmp by default. One that would block is not waited for.
func TestTicketCacheOfOthers(t *testing.T) {
	write := func(mode os.FileMode) func(string) error {
		return func(path string) error {
			if err := os.WriteFile(path, []byte("tickets"), 0o600); err != nil {
				return err
			}
			return os.Chmod(path, mode)
		}
	}
	for _, tt := range []struct {
		name string
		make func(path string) error
		says string // empty: it is read
		root bool
	}{
		{"our own", write(0o600), "", false},
		{"that others can read", write(0o644), "", false},
		{"missing", func(string) error { return nil }, "no such file or directory; run kinit", false},
		{"that the group can write", write(0o660), "others can write to it (mode 0660); remove it and run kinit", false},
		{"that others can write", write(0o602), "others can write to it (mode 0602)", false},
		{"a link", func(path string) error {
			if err := write(0o600)(path + "-target"); err != nil {
				return err
			}
			return os.Symlink(path+"-target", path)
		}, "symbolic link, which is not followed", false},
		{"a fifo", func(path string) error { return syscall.Mkfifo(path, 0o600) }, "no regular file", false},
		{"a directory", func(path string) error { return os.Mkdir(path, 0o700) }, "no regular file", false},
		{"too large", func(path string) error {
			if err := write(0o600)(path); err != nil {
				return err
			}
			return os.Truncate(path, hdfs.MaxCache+1)
		}, "bytes, more than", false},
		{"another user's", func(path string) error {
			if err := write(0o600)(path); err != nil {
				return err
			}
			return os.Chown(path, 54321, 54321)
		}, "belongs to uid 54321, and not to uid 0, which this runs as; remove it and run kinit", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.root && os.Geteuid() != 0 {
				t.Skip("needs root: gives a file away")
			}
			path := filepath.Join(t.TempDir(), "krb5cc_0")
			if err := tt.make(path); err != nil {
				t.Fatal(err)
			}
			content, err := hdfs.ReadCache(path)
			switch {
			case tt.says == "" && (err != nil || string(content) != "tickets"):
				t.Errorf("%q, %v", content, err)
			case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)):
				t.Errorf("%q, %v, want %q", content, err, tt.says)
			}
		})
	}
}
