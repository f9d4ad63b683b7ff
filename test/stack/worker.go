package stack

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

const (
	// patience is how long the stack may take to do what it is asked, or to say
	// why not: the agent and the store's client try a lost block again for more
	// than a minute together.
	patience = 2 * time.Minute
	// pollInterval is how often it is looked at.
	pollInterval = 20 * time.Millisecond
)

// Apply creates a worker that runs a command as nobody, is not started again
// when it ends, and gets no grace when it is deleted.
func (s *Stack) Apply(ctx context.Context, name string, port int32, image string, command ...string) (*api.StormWorker, error) {
	w := &api.StormWorker{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault},
		Spec: api.StormWorkerSpec{
			TopologyID: "test-1-1608581491", Port: port, User: "nobody", Image: image, Command: command,
			RestartPolicy: api.RestartNever, TerminationGracePeriodSeconds: new(int64(0)),
		},
	}
	if err := s.Client.Create(ctx, w); err != nil {
		return nil, fmt.Errorf("create StormWorker %s: %w", name, err)
	}
	return w, nil
}

// Await waits until the worker's Ready has a reason, and reads the worker anew.
func (s *Stack) Await(ctx context.Context, w *api.StormWorker, reason string) error {
	var last metav1.Condition
	err := s.poll(ctx, func() (bool, error) {
		if err := s.Client.Get(ctx, client.ObjectKeyFromObject(w), w); err != nil {
			return false, err
		}
		if c := meta.FindStatusCondition(w.Status.Conditions, api.WorkerReady); c != nil {
			last = *c
		}
		return last.Reason == reason, nil
	})
	if err != nil {
		return fmt.Errorf("wait until StormWorker %s is %s: %w; it is %s: %s", w.Name, reason, err, last.Reason, last.Message)
	}
	return nil
}

// Remove deletes a worker and waits until it is gone.
func (s *Stack) Remove(ctx context.Context, w *api.StormWorker) error {
	return s.remove(ctx, w)
}

// Forget deletes the StormImage of a tag, so that the manager looks it up anew
// for the next worker.
func (s *Stack) Forget(ctx context.Context, tag string) error {
	var images api.StormImageList
	if err := s.Client.List(ctx, &images); err != nil {
		return fmt.Errorf("list StormImages: %w", err)
	}
	for i := range images.Items {
		if images.Items[i].Spec.Tag != tag {
			continue
		}
		if err := s.remove(ctx, &images.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) remove(ctx context.Context, o client.Object) error {
	err := s.Client.Delete(ctx, o)
	if client.IgnoreNotFound(err) == nil {
		err = s.poll(ctx, func() (bool, error) {
			err := s.Client.Get(ctx, client.ObjectKeyFromObject(o), o)
			return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
		})
	}
	if err != nil {
		return fmt.Errorf("delete %T %s: %w", o, o.GetName(), err)
	}
	return nil
}

// poll asks until the answer is yes, or a daemon has ended that nobody has
// stopped.
func (s *Stack) poll(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if err := errors.Join(ended(s.manager), ended(s.agent)); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ended tells of a daemon that has ended. It leaves how it ended for Wait.
func ended(c *exec.Cmd) error {
	if c == nil {
		return nil
	}
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, c.Process.Pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil || info.Signo == 0 {
		return err
	}
	return fmt.Errorf("%s has ended by itself: see its log", filepath.Base(c.Path))
}
