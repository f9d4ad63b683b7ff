// Package loopdev attaches files to loop devices of Linux, read-only, so that the file
// systems in them can be mounted.
package loopdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrUnsupported is a kernel or a /dev without loop devices.
var ErrUnsupported = errors.New("no loop devices on this machine; load the kernel module: modprobe loop")

// ErrContended is every free device having been taken by another process
// before it could be used, many times over.
var ErrContended = errors.New("other processes took every free loop device")

// maxRaces bounds how often a free device may be lost to another process.
// Each loss is a success of somebody else, so the number is never reached
// unless a process takes devices without end.
const maxRaces = 256

const controlPath = "/dev/loop-control"

// flags make a device read-only, and make the kernel clear it as soon as
// nobody has it open or mounted: nothing is left behind by a process that dies.
const flags = unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR

// Device is a loop device that holds a file. The kernel clears it when it is
// closed and mounted nowhere.
type Device struct {
	node *os.File
}

// Path names the device, as mount(2) takes it.
func (d *Device) Path() string { return d.node.Name() }

// Close lets go of the device. A mount of it keeps it.
func (d *Device) Close() error { return d.node.Close() }

// Attach puts backing behind a free loop device. On kernels before Linux 5.8,
// which have no LOOP_CONFIGURE, it does what AttachInSteps does.
func Attach(backing *os.File) (*Device, error) {
	return attach(backing, orInSteps(configure))
}

// bindFunc puts backing behind the open device node.
type bindFunc func(node, backing *os.File) error

// orInSteps falls back on configureInSteps where the kernel does not know the
// ioctl of bind, which it tells by EINVAL or ENOTTY. A fault of ours would be
// EINVAL too, and then shows again in the second way.
func orInSteps(bind bindFunc) bindFunc {
	return func(node, backing *os.File) error {
		err := bind(node, backing)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTTY) {
			return configureInSteps(node, backing)
		}
		return err
	}
}

// AttachInSteps is Attach by the two ioctls that every kernel has. It is
// slower by two orders of magnitude, as the second one waits for an RCU grace
// period; a process killed between the two leaves a device that Detach clears.
func AttachInSteps(backing *os.File) (*Device, error) {
	return attach(backing, configureInSteps)
}

func attach(backing *os.File, bind bindFunc) (*Device, error) {
	control, err := os.OpenFile(controlPath, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, fmt.Errorf("attach %s: %w: %w", backing.Name(), ErrUnsupported, err)
	}
	if err != nil {
		return nil, fmt.Errorf("attach %s: %w", backing.Name(), err)
	}
	defer control.Close()
	for range maxRaces {
		number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("attach %s: find a free loop device: %w", backing.Name(), err)
		}
		device, err := bindTo(number, backing, bind)
		// EBUSY: another process took the device since, the protocol of
		// LOOP_CTL_GET_FREE. ENXIO, ENODEV: another one removed it.
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("attach %s to loop device %d: %w", backing.Name(), number, err)
		}
		return device, nil
	}
	return nil, fmt.Errorf("attach %s: %w", backing.Name(), ErrContended)
}

func bindTo(number int, backing *os.File, bind bindFunc) (*Device, error) {
	node, err := openNode(number)
	if err != nil {
		return nil, err
	}
	if err := bind(node, backing); err != nil {
		node.Close()
		return nil, err
	}
	return &Device{node: node}, nil
}

// configure attaches in one step, with all flags set before anyone can see the
// device.
func configure(node, backing *os.File) error {
	config := unix.LoopConfig{
		Fd:   uint32(backing.Fd()), //nolint:gosec // file descriptors are small
		Info: unix.LoopInfo64{Flags: flags, File_name: label(backing)},
	}
	if err := unix.IoctlLoopConfigure(int(node.Fd()), &config); err != nil {
		return fmt.Errorf("LOOP_CONFIGURE: %w", err)
	}
	return nil
}

// configureInSteps relies on node being open for reading only, which makes the
// kernel set the read-only flag by itself: LOOP_SET_STATUS64 cannot.
func configureInSteps(node, backing *os.File) error {
	if err := unix.IoctlSetInt(int(node.Fd()), unix.LOOP_SET_FD, int(backing.Fd())); err != nil {
		return fmt.Errorf("LOOP_SET_FD: %w", err)
	}
	info := unix.LoopInfo64{Flags: flags, File_name: label(backing)}
	if err := unix.IoctlLoopSetStatus64(int(node.Fd()), &info); err != nil {
		_ = unix.IoctlSetInt(int(node.Fd()), unix.LOOP_CLR_FD, 0)
		return fmt.Errorf("LOOP_SET_STATUS64: %w", err)
	}
	return nil
}

// label is the backing file's path, cut to what losetup shows of it.
func label(backing *os.File) (name [64]uint8) {
	copy(name[:len(name)-1], backing.Name())
	return name
}
