package localdir_test

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// asNobody runs f with the file system rights of the user 65534.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the runtime ends the thread with the goroutine.
		runtime.LockOSThread()
		if _, err := unix.SetfsgidRetGid(65534); err != nil {
			t.Error(err)
			return
		}
		if _, err := unix.SetfsuidRetUid(65534); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}
