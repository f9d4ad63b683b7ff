package squashfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrNoProgram is a machine without a mksquashfs that can be used.
var ErrNoProgram = errors.New("mksquashfs 4.5 or newer is needed (Debian, Ubuntu, Fedora: install the package squashfs-tools)")

// How images are compressed. Measured on 1.35 GB of Debian's /usr: against
// mksquashfs's defaults (gzip, blocks of 128 KiB) this takes a fourteenth of
// the CPU time and no more space; docs/docker-to-squash.md has the table.
const (
	// Compression is the compressor's name.
	Compression = "zstd"

	level     = "4"
	blockSize = "512K"
	// memory bounds the queues of one mksquashfs. Its default is a quarter of
	// the machine's memory, and was no faster.
	memory = "256M"
)

// Mksquashfs is the program that makes squashfs file systems.
type Mksquashfs struct {
	// Path is where it lies, Version what it says it is.
	Path, Version string
	// Processors is the number of its compressing threads; 0 means one for
	// each CPU. The result does not depend on it.
	Processors int
}

var versionLine = regexp.MustCompile(`mksquashfs version (([0-9]+)\.([0-9]+)\S*)`)

// Find looks for mksquashfs in PATH and where Debian and Fedora keep
// administrators' programs, and asks it for its version. The error wraps
// ErrNoProgram if there is none, or none that reads tar archives.
func Find(ctx context.Context) (*Mksquashfs, error) {
	path, err := exec.LookPath("mksquashfs")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/mksquashfs")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoProgram, err)
	}
	// The exit code of -version differs between versions.
	out, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	version, usable := parseVersion(out)
	switch {
	case version == "":
		return nil, fmt.Errorf("%w: %s does not report its version: %w", ErrNoProgram, path, errors.Join(err, ctx.Err()))
	case !usable:
		return nil, fmt.Errorf("%w: %s is version %s", ErrNoProgram, path, version)
	}
	return &Mksquashfs{Path: path, Version: version}, nil
}

// parseVersion finds the version in the output of "mksquashfs -version", and
// tells whether it reads tar archives, as of 4.5.
func parseVersion(out []byte) (version string, usable bool) {
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return "", false
	}
	major, err1 := strconv.Atoi(string(m[2]))
	minor, err2 := strconv.Atoi(string(m[3]))
	return string(m[1]), err1 == nil && err2 == nil && (major > 4 || (major == 4 && minor >= 5))
}

// Build is a file system in the making. Its tar archive is written to it; then
// Finish or Abort must be called.
type Build struct {
	ctx    context.Context //nolint:containedctx // the build's own: a broken pipe is its end's consequence
	cmd    *exec.Cmd
	stdin  *os.File
	out    *os.File
	stderr stderr
}

// Start begins a file system in out, an empty file that only this process
// writes. The program is killed when ctx ends.
func (m *Mksquashfs) Start(ctx context.Context, out *os.File) (*Build, error) {
	b := &Build{ctx: ctx, out: out}
	err := b.start(m, os.Geteuid() != 0)
	if err != nil && os.Geteuid() != 0 && ctx.Err() == nil {
		// This host has no user namespaces for us. All that is lost is the
		// uid that root's own directory gets (see setRoot).
		err = b.start(m, false)
	}
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", m.Path, err)
	}
	return b, nil
}

// start runs the program. In a user namespace it takes itself for root, and so
// gives the root directory to root, whoever runs it.
func (b *Build) start(m *Mksquashfs, userNamespace bool) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	b.cmd = exec.CommandContext(b.ctx, m.Path, m.arguments()...)
	// Whatever the environment says of time must not show in the result.
	b.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	b.cmd.Stdin, b.cmd.Stderr, b.cmd.ExtraFiles = r, &b.stderr, []*os.File{b.out}
	// A terminal's Ctrl-C is for this process only, which then ends the other.
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if userNamespace {
		b.cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		b.cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		b.cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	if err := b.cmd.Start(); err != nil {
		w.Close()
		return err
	}
	b.stdin = w
	// Fewer switches between the two processes; the kernel may say no.
	_, _ = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 1<<20)
	return nil
}

func (m *Mksquashfs) arguments() []string {
	args := []string{
		"-", "/proc/self/fd/3", "-tar", "-noappend", "-no-progress", "-quiet", "-no-recovery",
		"-comp", Compression, "-Xcompression-level", level, "-b", blockSize, "-mem", memory,
		"-mkfs-time", "0",
		// Inodes stay as they are, for setRoot; this costs 0.6 % of space.
		"-noI",
	}
	if m.Processors > 0 {
		args = append(args, "-processors", strconv.Itoa(m.Processors))
	}
	return args
}

// Write passes a part of the archive on.
func (b *Build) Write(p []byte) (int, error) { return b.stdin.Write(p) }

// Finish ends the archive, waits for the program and completes the file. The
// file system must hold inodes files and directories: mksquashfs leaves out
// what it does not understand, and an image must not miss a file silently.
func (b *Build) Finish(inodes uint32, root Root) (Superblock, error) {
	if err := b.wait(); err != nil {
		return Superblock{}, err
	}
	fi, err := b.out.Stat()
	if err != nil {
		return Superblock{}, fmt.Errorf("stat squashfs: %w", err)
	}
	super, err := CheckSuperblock(b.out, fi.Size())
	if err != nil {
		return Superblock{}, fmt.Errorf("result of mksquashfs: %w", err)
	}
	if super.Inodes != inodes {
		return Superblock{}, fmt.Errorf("result of mksquashfs: %w: it holds %d files, %d were written", ErrInvalid, super.Inodes, inodes)
	}
	if err := setRoot(b.out, fi.Size(), root); err != nil {
		return Superblock{}, fmt.Errorf("set the root directory of the squashfs: %w", err)
	}
	return super, nil
}

// Abort kills the program and waits for its end. It returns what the program
// complained of, which may be why the archive could not be written.
func (b *Build) Abort() error {
	_ = b.cmd.Process.Kill() // it may have ended
	return b.wait()
}

func (b *Build) wait() error {
	b.stdin.Close()
	err := b.cmd.Wait()
	if ctxErr := b.ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	// It exits with 0 although it has left something out.
	if text := b.stderr.text(); text != "" {
		return fmt.Errorf("mksquashfs: %s", text)
	}
	if err != nil {
		return fmt.Errorf("mksquashfs: %w", err)
	}
	return nil
}

// stderr keeps the first bytes of what a program complains of.
type stderr struct{ kept bytes.Buffer }

const maxStderr = 2 << 10

func (s *stderr) Write(p []byte) (int, error) {
	if room := maxStderr - s.kept.Len(); room > 0 {
		s.kept.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// text is on one line, whatever names of the image it repeats.
func (s *stderr) text() string {
	lines := bytes.Split(bytes.TrimSpace(s.kept.Bytes()), []byte("\n"))
	quoted := strconv.Quote(string(bytes.Join(lines, []byte("; "))))
	return quoted[1 : len(quoted)-1]
}
