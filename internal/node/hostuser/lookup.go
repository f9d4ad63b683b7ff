package hostuser

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	// lookupLimit is how long the name service may take to answer.
	lookupLimit = 10 * time.Second
	// maxAnswer is the size of getent's output in bytes: 65,536 groups fit.
	maxAnswer = 1 << 20
	// notFound is getent's exit code for a key that no database has.
	notFound = 2
)

// Options of a Directory.
type Options struct {
	// Getent is the path of the program; it is part of every libc.
	Getent string
	Policy Policy
	// TTL is how long an answer is good for; 0 asks each time.
	TTL time.Duration
	// Dropped receives a user that workers run as without some of its groups; it may be nil.
	Dropped func(user string, groups []string)
}

// Directory looks users and groups up. It remembers the groups that it found,
// and the users that it found and that may run workers.
type Directory struct {
	options Options
	users   *answers[User]
	groups  *answers[int]
}

// New returns a directory.
func New(o Options) *Directory { return newDirectory(o, time.Now) }

func newDirectory(o Options, now func() time.Time) *Directory {
	return &Directory{options: o, users: newAnswers[User](o.TTL, now), groups: newAnswers[int](o.TTL, now)}
}

// Lookup returns the user called name if it may run workers. A user that may
// not is an error that wraps ErrRefused; any other error is one of the name
// service, and may pass.
func (d *Directory) Lookup(ctx context.Context, name string) (User, error) {
	if u, ok := d.users.get(name); ok {
		return u, nil
	}
	u, err := d.ask(ctx, name)
	if err != nil {
		return User{}, fmt.Errorf("look up user %q: %w", name, err)
	}
	if err := d.options.Policy.Check(u); err != nil {
		return User{}, err
	}
	banned, err := d.bannedGroups(ctx)
	if err != nil {
		return User{}, fmt.Errorf("look up %s: %w", bannedGroup, err)
	}
	u, dropped, err := withoutBanned(u, banned)
	if err != nil {
		return User{}, err
	}
	if len(dropped) > 0 && d.options.Dropped != nil {
		d.options.Dropped(name, dropped)
	}
	d.users.put(name, u)
	return u, nil
}

// bannedGroups returns the names of the banned groups that this host has, by id. Root's is
// one of them, whatever its name is.
func (d *Directory) bannedGroups(ctx context.Context) (map[int]string, error) {
	banned := map[int]string{0: "root"}
	if len(d.options.Policy.BannedGroups) == 0 {
		return banned, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	lines, err := d.getent(ctx, "group", d.options.Policy.BannedGroups...)
	if err != nil && !isNotFound(err) { // few hosts have all of them
		return nil, err
	}
	for line := range strings.Lines(lines) {
		name, gid, err := parseGroupLine(line)
		if err != nil {
			return nil, err
		}
		banned[gid] = name
	}
	return banned, nil
}

// LookupGroup returns the id of the group called name. A group that the host
// does not know is an error that wraps ErrUnknownGroup; any other error is one
// of the name service, and may pass.
func (d *Directory) LookupGroup(ctx context.Context, name string) (int, error) {
	if gid, ok := d.groups.get(name); ok {
		return gid, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	line, err := d.getent(ctx, "group", name)
	if isNotFound(err) {
		err = fmt.Errorf("%w; create it on this node, or find out why \"getent group %s\" does not find it", ErrUnknownGroup, name)
	}
	var gid int
	if err == nil {
		gid, err = parseGroup(line, name)
	}
	if err != nil {
		return 0, fmt.Errorf("look up group %q: %w", name, err)
	}
	d.groups.put(name, gid)
	return gid, nil
}

func isNotFound(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	return ok && exit.ExitCode() == notFound
}

func (d *Directory) ask(ctx context.Context, name string) (User, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	passwd, err := d.getent(ctx, "passwd", name)
	if isNotFound(err) {
		return User{}, fmt.Errorf("%w; create it on this node, or find out why \"getent passwd %s\" does not find it", ErrUnknown, name)
	}
	if err != nil {
		return User{}, err
	}
	u, err := parsePasswd(passwd, name)
	if err != nil {
		return User{}, err
	}
	groups, err := d.getent(ctx, "initgroups", name)
	if err != nil {
		return User{}, err
	}
	u.Groups, err = parseGroups(groups, name, u.GID)
	return u, err
}

// getent asks one database of the name service. The libc's own program does
// it, because the databases are plug-ins of that libc. If one of several keys is not found,
// the others' lines are returned beside the error.
func (d *Directory) getent(ctx context.Context, database string, keys ...string) (string, error) {
	var out capped
	cmd := exec.CommandContext(ctx, d.options.Getent, append([]string{"--", database}, keys...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.Stdout = &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// A child of a plug-in that keeps stdout open must not hold us up.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	switch {
	case out.err != nil:
		err = out.err
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("the name service does not answer: %w", ctx.Err())
	}
	if err != nil {
		err = fmt.Errorf("getent %s: %w", database, err)
	}
	return out.buf.String(), err
}

var errTooLong = fmt.Errorf("answer is longer than %d bytes", maxAnswer)

// capped is a buffer that refuses to grow past maxAnswer. The buffer is no
// embedded one: its ReadFrom would go round the limit.
type capped struct {
	buf bytes.Buffer
	err error
}

func (c *capped) Write(p []byte) (int, error) {
	if c.buf.Len()+len(p) > maxAnswer {
		c.err = errTooLong
		return 0, c.err
	}
	return c.buf.Write(p)
}
