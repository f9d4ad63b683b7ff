// Package cli calls the program runc, by containerd's go-runc. Around it are a
// time limit for each call and a monitor that confines the program; errors are
// sentences such as "runc start: exit status 1: container does not exist".
package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	gorunc "github.com/containerd/go-runc"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// callLimit is for one call of runc, a matter of milliseconds on a healthy node.
const callLimit = 30 * time.Second

// Version is what "runc --version" prints.
type Version = gorunc.Version

// Container is what runc knows of a container.
type Container = gorunc.Container

// Client calls one program, for the containers of one directory.
type Client struct{ runc gorunc.Runc }

// New returns a client for the program at path. root is the directory of
// runc's state, and log the file to which runc writes its log; both may be
// empty for calls that are about no container. With a log, runc prints an error
// itself, in plain words, to stderr, from where it comes into ours.
func New(path, root, log string) *Client {
	runc := gorunc.Runc{Command: path, Root: root, Log: log}
	if log != "" {
		runc.LogFormat = gorunc.JSON
	}
	return &Client{runc}
}

// GlobalArgs are the arguments in front of every command, for one who calls
// runc for the same containers: conmon.
func (c *Client) GlobalArgs() []string {
	return []string{"--root", c.runc.Root, "--log", c.runc.Log, "--log-format", string(c.runc.LogFormat)}
}

// Start lets a container run that was created.
func (c *Client) Start(ctx context.Context, id string) error {
	_, err := call(ctx, c, "start", func(ctx context.Context) (struct{}, error) { return struct{}{}, c.runc.Start(ctx, id) })
	return err
}

// State returns what runc knows of a container.
func (c *Client) State(ctx context.Context, id string) (*Container, error) {
	return call(ctx, c, "state", func(ctx context.Context) (*Container, error) { return c.runc.State(ctx, id) })
}

// List returns every container below the root, in no order.
func (c *Client) List(ctx context.Context) ([]*Container, error) {
	return call(ctx, c, "list", c.runc.List)
}

// Delete kills what runs of a container and deletes what runc knows of it.
func (c *Client) Delete(ctx context.Context, id string) error {
	_, err := call(ctx, c, "delete", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, c.runc.Delete(ctx, id, &gorunc.DeleteOpts{Force: true})
	})
	return err
}

// Version returns the program's version, which is empty if the program runs
// but calls itself something else than runc.
func (c *Client) Version(ctx context.Context) (Version, error) {
	return call(ctx, c, "--version", c.runc.Version)
}

// Features returns what runc was built with. Releases before 1.1 do not tell.
func (c *Client) Features(ctx context.Context) (*features.Features, error) {
	return call(ctx, c, "features", c.runc.Features)
}

// call bounds a call's time and makes a sentence of its error. Some of
// go-runc's errors are text that ends with the program's output: ": " where
// there is none, as the monitor sees to it, and ": <nil>" where the program did
// not start. They do not wrap the context's error, so that is asked itself.
func call[T any](ctx context.Context, c *Client, command string, do func(context.Context) (T, error)) (T, error) {
	var none T
	if c.runc.Log != "" { // without the directory of its log, runc does nothing at all
		if err := os.MkdirAll(filepath.Dir(c.runc.Log), 0o700); err != nil { //nolint:gosec // the caller made it of a container's checked id
			return none, fmt.Errorf("runc %s: %w", command, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	result, err := do(ctx)
	if err == nil {
		return result, nil
	}
	if ctx.Err() != nil {
		return none, fmt.Errorf("runc %s: %w", command, ctx.Err())
	}
	text := strings.TrimSuffix(strings.TrimSuffix(err.Error(), "<nil>"), ": ")
	return none, fmt.Errorf("runc %s: %s", command, text)
}
