package docker

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/stormcell/stormcell/internal/node/runtime"
)

// Log opens what a container has printed, both streams in one. Docker has the
// log of the container that there is, and none of those before it.
func (r *Runtime) Log(ctx context.Context, id string, o runtime.LogOptions) (io.ReadCloser, error) {
	c, err := r.find(ctx, id)
	if errors.Is(err, runtime.ErrNotFound) || err == nil && o.Previous {
		return nil, runtime.ErrNoLog
	}
	if err != nil {
		return nil, err
	}
	tail := "all"
	if o.TailLines != nil {
		tail = strconv.FormatInt(*o.TailLines, 10)
	}
	stream, err := r.api.ContainerLogs(ctx, c.ID, client.ContainerLogsOptions{
		ShowStdout: true, ShowStderr: true, Follow: o.Follow, Timestamps: o.Timestamps, Tail: tail,
	})
	if err != nil {
		return nil, r.explain(err)
	}
	text, write := io.Pipe()
	go func() {
		_, err := stdcopy.StdCopy(write, write, stream)
		write.CloseWithError(err)
	}()
	return &log{PipeReader: text, stream: stream}, nil
}

// log is the text of a stream of Docker's.
type log struct {
	*io.PipeReader
	stream io.Closer
}

// Close ends the stream, too.
func (l *log) Close() error { return errors.Join(l.PipeReader.Close(), l.stream.Close()) }

// RemoveLogs has nothing to do: Docker's logs go with their container.
func (r *Runtime) RemoveLogs(id string) error { return runtime.CheckID(id) }

// OldLogs knows none.
func (r *Runtime) OldLogs(time.Time) ([]string, error) { return nil, nil }
