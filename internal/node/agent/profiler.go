package agent

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/apply"
	"github.com/stormcell/stormcell/internal/node/profile"
)

// +kubebuilder:rbac:groups=stormcell.dev,resources=stormprofiles,verbs=get;list;watch
// +kubebuilder:rbac:groups=stormcell.dev,resources=stormprofiles/status,verbs=patch

// Profiles is what the Profiler needs of a node. Workers are known by their UIDs.
type Profiles interface {
	// Run has the profiler script do something to a worker, and returns when it
	// has ended. The result is also good for what there is if it failed.
	Run(ctx context.Context, worker, verb string) (profile.Result, error)
	// Kill kills a worker's processes.
	Kill(ctx context.Context, worker string) error
}

// Profiler carries out the StormProfiles of one node. Those of one worker run
// one after the other. Each is begun once: its status says so before it begins.
type Profiler struct {
	Client   client.Client
	Events   events.EventRecorder
	Profiles Profiles
	Changes  *ProfileChanges

	mu sync.Mutex
	// runs are the profiles that this process has begun and not seen complete.
	runs map[types.UID]*profileRun
}

// profileRun is a profile under way, or its end, which is zero until then.
type profileRun struct {
	profile types.NamespacedName
	worker  string
	cancel  context.CancelFunc
	end     profileEnd
	// waiting are profiles of the same worker that begin when this has ended.
	waiting []types.NamespacedName
}

// SetupWithManager registers the reconciler.
func (p *Profiler) SetupWithManager(mgr ctrl.Manager) error {
	p.runs = map[types.UID]*profileRun{}
	return ctrl.NewControllerManagedBy(mgr).
		Named("stormprofile").
		For(&api.StormProfile{}).
		WatchesRawSource(p.Changes).
		Complete(p)
}

// Reconcile looks at one StormProfile. Only one Reconcile runs at a time.
func (p *Profiler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	o := new(api.StormProfile)
	err := p.Client.Get(ctx, req.NamespacedName, o)
	gone := errors.IsNotFound(err)
	if err != nil && !gone {
		return ctrl.Result{}, fmt.Errorf("get StormProfile %s: %w", req, err)
	}
	if p.cancelOthers(req.NamespacedName, o.UID); gone {
		return ctrl.Result{}, nil
	}
	now := time.Now()
	next := nextOfProfile(o, p.endOf(o.UID), now)
	if next.forget {
		p.forget(o.UID)
	}
	if next.verb != "" && p.busy(o) {
		return ctrl.Result{}, nil // its turn comes
	}
	if err := p.report(ctx, o, next.status); err != nil {
		return apply.Outcome(err)
	}
	if next.verb != "" {
		p.begin(ctx, o, next.verb)
	}
	return ctrl.Result{RequeueAfter: next.after}, nil
}

// cancelOthers ends runs of profiles of this name that are not the object's: it
// was deleted.
func (p *Profiler) cancelOthers(name types.NamespacedName, uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for other, run := range p.runs {
		if run.profile == name && other != uid {
			run.cancel()
			if run.end.over() {
				delete(p.runs, other)
			}
		}
	}
}

// endOf is the end of a run, or nil if there is no such run here.
func (p *Profiler) endOf(uid types.UID) *profileEnd {
	p.mu.Lock()
	defer p.mu.Unlock()
	if run, ok := p.runs[uid]; ok {
		end := run.end
		return &end
	}
	return nil
}

func (p *Profiler) forget(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.runs, uid)
}

// busy tells whether another profile of o's worker is under way. Then o is looked
// at again when that has ended.
func (p *Profiler) busy(o *api.StormProfile) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for uid, run := range p.runs {
		if uid != o.UID && run.worker == o.Status.WorkerUID && !run.end.over() {
			run.waiting = append(run.waiting, client.ObjectKeyFromObject(o))
			return true
		}
	}
	return false
}

// begin lets a profile run, in a life of its own: the end of it brings another look.
func (p *Profiler) begin(ctx context.Context, o *api.StormProfile, verb string) {
	ctx, cancel := context.WithCancel(ctx) // that of the controller: it lives on
	run := &profileRun{profile: client.ObjectKeyFromObject(o), worker: o.Status.WorkerUID, cancel: cancel}
	p.mu.Lock()
	p.runs[o.UID] = run
	p.mu.Unlock()
	go func() {
		defer cancel()
		end := p.run(ctx, run.worker, verb)
		p.mu.Lock()
		run.end = end
		waiting := run.waiting
		p.mu.Unlock()
		for _, name := range append(waiting, run.profile) {
			p.Changes.Add(ctrl.Request{NamespacedName: name})
		}
	}()
}

func (p *Profiler) run(ctx context.Context, worker, verb string) profileEnd {
	end := profileEnd{verb: verb, begunAt: time.Now()}
	if verb == verbKill {
		end.err = p.Profiles.Kill(ctx, worker)
	} else {
		end.result, end.err = p.Profiles.Run(ctx, worker, verb)
	}
	end.at = time.Now()
	return end
}

// report applies a status that is not what the object says, and tells of the end
// in an event.
func (p *Profiler) report(ctx context.Context, o *api.StormProfile, status *api.StormProfileStatus) error {
	if status == nil || equality.Semantic.DeepEqual(ownProfileStatus(o), status) {
		return nil
	}
	if _, err := applyStatus(ctx, p.Client, o, status); err != nil {
		return err
	}
	if c := status.Conditions[0]; c.Reason == api.ReasonFailed {
		p.Events.Eventf(o, nil, "Warning", c.Reason, "Profile", "%s", c.Message)
	} else if status.FinishedAt != nil {
		p.Events.Eventf(o, nil, "Normal", c.Reason, "Profile", "%s", c.Message)
	}
	return nil
}
