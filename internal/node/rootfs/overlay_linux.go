package rootfs

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// overlayOptions switch off what would make an overlay obey extended
// attributes of an image (redirects, metadata-only files), and what is of no
// use to one that is thrown away (index).
var overlayOptions = [][2]string{
	{"index", "off"},
	{"metacopy", "off"},
	{"redirect_dir", "nofollow"},
}

// maxMountData is what mount(2) takes of its options: a page with its final 0.
const maxMountData = 4095

// mountOverlay mounts an overlay in the way that this kernel has.
func mountOverlay(o Overlay) error {
	err := mountOverlayByLayer(o)
	// ENOSYS: no fsopen (before Linux 5.2). EINVAL: no lowerdir+ (before 6.7).
	// EPERM: a seccomp profile older than the system call.
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
		if second := mountOverlayByOptions(o); second != nil {
			return fmt.Errorf("%w (and layer by layer: %w); the kernel's log may show why", second, err)
		}
		return nil
	}
	return err
}

// mountOverlayByLayer hands over each layer by itself, so that their number
// and the length of their paths do not matter.
func mountOverlayByLayer(o Overlay) error {
	fd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fd)
	settings := [][2]string{{"source", "overlay"}}
	for _, lower := range o.Lower {
		settings = append(settings, [2]string{"lowerdir+", lower})
	}
	settings = append(settings, [2]string{"upperdir", o.Upper}, [2]string{"workdir", o.Work})
	settings = append(settings, overlayOptions...)
	for _, s := range settings {
		if err := unix.FsconfigSetString(fd, s[0], s[1]); err != nil {
			return fmt.Errorf("fsconfig %s=%s: %w", s[0], s[1], err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return fmt.Errorf("fsconfig create: %w", err)
	}
	mount, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return fmt.Errorf("fsmount: %w", err)
	}
	defer unix.Close(mount)
	if err := unix.MoveMount(mount, "", unix.AT_FDCWD, o.Target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	return nil
}

// mountOverlayByOptions is for kernels without lowerdir+. All layers must fit
// one page of options, which full paths do not from about 40 on. So each is
// named by the number of an open file, relative to /proc/self/fd: a few bytes.
func mountOverlayByOptions(o Overlay) error {
	dirs := append([]string{o.Upper, o.Work}, o.Lower...)
	names := make([]string, len(dirs))
	for i, dir := range dirs {
		f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		names[i] = strconv.Itoa(int(f.Fd()))
	}
	options := []string{"upperdir=" + names[0], "workdir=" + names[1], "lowerdir=" + strings.Join(names[2:], ":")}
	for _, s := range overlayOptions {
		options = append(options, s[0]+"="+s[1])
	}
	data := strings.Join(options, ",")
	if len(data) > maxMountData {
		return fmt.Errorf("%d bytes of mount options, the kernel takes %d: too many open files", len(data), maxMountData)
	}
	return inDirectory("/proc/self/fd", func() error {
		return unix.Mount("overlay", o.Target, "overlay", mountFlags, data)
	})
}

// inDirectory calls f with a working directory of its own.
func inDirectory(dir string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with this goroutine, and with it
		// the working directory that no other shares.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			done <- fmt.Errorf("unshare working directory: %w", err)
			return
		}
		if err := unix.Chdir(dir); err != nil {
			done <- fmt.Errorf("change to %s: %w", dir, err)
			return
		}
		done <- f()
	}()
	return <-done
}
