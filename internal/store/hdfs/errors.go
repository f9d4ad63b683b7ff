package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"github.com/stormcell/stormcell/internal/backoff"
	"github.com/stormcell/stormcell/internal/store"
	"github.com/stormcell/stormcell/internal/store/hdfs/sasl"
)

// ErrSafeMode is a write that a NameNode refuses for the time being: it has
// just started, or its operator wants it so.
var ErrSafeMode = fmt.Errorf("%w: its NameNode is in safe mode and takes no writes (see hdfs dfsadmin -safemode get)", store.ErrUnavailable)

// ErrNoReplica is a block of a file that no DataNode gives out whole.
var ErrNoReplica = fmt.Errorf("%w: no replica of it can be read", store.ErrLost)

// Names of exceptions of Hadoop. The library translates some others.
const (
	accessControl  = "org.apache.hadoop.security.AccessControlException"
	fileNotFound   = "java.io.FileNotFoundException"
	invalidPath    = "org.apache.hadoop.fs.InvalidPathException"
	parentNotDir   = "org.apache.hadoop.fs.ParentNotDirectoryException"
	safeMode       = "org.apache.hadoop.hdfs.server.namenode.SafeModeException"
	standby        = "org.apache.hadoop.ipc.StandbyException"
	retriable      = "org.apache.hadoop.ipc.RetriableException"
	serverTooBusy  = "org.apache.hadoop.ipc.RpcServerException"
	retryOnActive  = "org.apache.hadoop.ipc.ObserverRetryOnActiveException"
	unresolvedLink = "org.apache.hadoop.fs.UnresolvedPathException"
)

// exception is the class of a NameNode's refusal, or "".
func exception(err error) string {
	var remote hdfs.Error
	if errors.As(err, &remote) {
		return remote.Exception()
	}
	return ""
}

// translated are the errors that the library makes of exceptions, and ours
// about an answer.
var translated = []error{
	fs.ErrNotExist, fs.ErrPermission, fs.ErrExist, fs.ErrInvalid, syscall.ENOTEMPTY,
	store.ErrNotFile, store.ErrTooLarge, store.ErrChanged,
}

// answered tells whether err is what a NameNode said, and its connection good.
func answered(err error) bool {
	var remote hdfs.Error
	return err == nil || errors.As(err, &remote) ||
		slices.ContainsFunc(translated, func(t error) bool { return errors.Is(err, t) })
}

// passing tells whether another try may go better: no NameNode answered, or
// one asks for patience.
func passing(err error) bool {
	var refused *refusal
	if errors.Is(err, errLogin) || errors.Is(err, sasl.ErrMismatch) || errors.As(err, &refused) && refused.exception == accessControl {
		return false
	}
	switch exception(err) {
	case standby, retriable, serverTooBusy, retryOnActive:
		return true
	}
	return !answered(err)
}

// patience is how long an operation that no NameNode answers is tried again: a
// restart or a fail-over within it passes unnoticed. What lasts longer is the
// caller's to wait out, who can tell the user.
const patience = 12 * time.Second

// pauses are those between the tries. All nodes of a cluster notice a fail-over
// at the same moment.
var pauses = backoff.Policy{First: 100 * time.Millisecond, Last: 2 * time.Second, Jitter: 0.5}

// do runs f, which may be run several times, until a NameNode has answered.
func (s *Store) do(ctx context.Context, f func(*hdfs.Client) error) error {
	return s.try(ctx, func() error { return s.pool.use(ctx, f) })
}

// try runs f, again and again while its error is a passing one, for as long as
// our patience lasts.
func (s *Store) try(ctx context.Context, f func() error) error {
	start := time.Now()
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := f()
		if err == nil {
			return nil
		}
		if !passing(err) || time.Since(start) > patience || backoff.Wait(ctx, pauses.Pause(n)) != nil {
			return s.fault(ctx, err)
		}
	}
}

// fault makes an error of ours of one of the library.
func (s *Store) fault(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("store %s: %w (%s)", s.URL(), context.Cause(ctx), err.Error())
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || exception(err) == parentNotDir {
		if err := s.checkRoot(ctx); err != nil {
			return err
		}
	}
	var refused *refusal
	if errors.As(err, &refused) && refused.exception == accessControl {
		err = s.pool.login.refused(err)
	}
	switch exception(err) {
	case fileNotFound:
		err = fmt.Errorf("%w: %s", fs.ErrNotExist, message(err))
	case accessControl, parentNotDir:
		err = fmt.Errorf("%w: %s", fs.ErrPermission, message(err))
	case invalidPath, unresolvedLink:
		err = fmt.Errorf("%w: %s", fs.ErrInvalid, message(err))
	case safeMode:
		err = fmt.Errorf("%w: %s", ErrSafeMode, message(err))
	case "":
	default:
		err = fmt.Errorf("%w: %s", err, message(err))
	}
	switch {
	case errors.Is(err, store.ErrUnavailable):
		return fmt.Errorf("store %s: %w", s.URL(), err)
	case passing(err) && !errors.Is(err, ErrNoReplica):
		return fmt.Errorf("%w: %s: %w", store.ErrUnavailable, s.URL(), err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("store %s: as user %s: %w", s.URL(), s.pool.login.user(), err)
	}
	return fmt.Errorf("store %s: %w", s.URL(), err)
}

// checkRoot tells whether a file is missing because the whole store is.
func (s *Store) checkRoot(ctx context.Context) error {
	return s.pool.use(ctx, func(c *hdfs.Client) error {
		fi, err := c.Stat(s.address.Path)
		if errors.Is(err, fs.ErrNotExist) {
			// No statement about a file in the store, so not fs.ErrNotExist.
			return fmt.Errorf("%w: %s", store.ErrNoRoot, s.URL())
		}
		if err == nil && !fi.IsDir() {
			return fmt.Errorf("%w: %s is not a folder", store.ErrUnavailable, s.URL())
		}
		return nil
	})
}

// message is the first line of what a NameNode said; a stack trace follows it.
func message(err error) string {
	var remote hdfs.Error
	if !errors.As(err, &remote) {
		return ""
	}
	line, _, _ := strings.Cut(remote.Message(), "\n")
	return line
}
