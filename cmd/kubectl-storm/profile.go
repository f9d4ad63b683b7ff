package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	stormcell "github.com/stormcell/stormcell/client/clientset/versioned/typed/api/v1alpha1"
	"github.com/stormcell/stormcell/cmd/kubectl-storm/internal/screen"
)

const profileHelp = `Profiles the Java process of a worker, or restarts it, as the buttons of Storm's UI
do, and waits for the outcome. Files stay on the worker's node, in its
artifacts directory. ACTION is one of:

  JStack             write the stacks of all threads
  HeapDump           write the heap
  FlightRecordStart  start a flight recording; with --duration, write it after
                     that time and stop it
  FlightRecordDump   write what has been recorded so far
  FlightRecordStop   write it, and stop recording
  Restart            kill the worker's processes; its restartPolicy decides what
                     happens then

The request is a StormProfile, which stays for a day: kubectl get stormprofiles.`

// actions are what ACTION can be, with what completion says of each.
var actions = []cobra.Completion{
	cobra.CompletionWithDesc(string(api.ProfileJStack), "write the stacks of all threads"),
	cobra.CompletionWithDesc(string(api.ProfileHeapDump), "write the heap"),
	cobra.CompletionWithDesc(string(api.ProfileFlightRecordStart), "start a flight recording"),
	cobra.CompletionWithDesc(string(api.ProfileFlightRecordDump), "write what has been recorded so far"),
	cobra.CompletionWithDesc(string(api.ProfileFlightRecordStop), "write it, and stop recording"),
	cobra.CompletionWithDesc(string(api.ProfileRestart), "kill the worker's processes"),
}

// profilePatience is how long a profile is waited for, beside its duration. A
// large heap takes minutes to write.
const profilePatience = 10 * time.Minute

func newProfile(p *plugin) *cobra.Command {
	var lasting, patience time.Duration
	var wait bool
	cmd := &cobra.Command{
		Use:   "profile WORKER ACTION",
		Short: "Dump threads or heap of a worker, record its flight, or restart it",
		Long:  profileHelp,
		Example: `  kubectl storm profile clock JStack
  kubectl storm profile clock FlightRecordStart --duration 30s
  kubectl storm profile clock HeapDump --wait=false -o name`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: p.completeWorker(actions...),
	}
	cmd.Flags().DurationVar(&lasting, "duration", 0, "stop a flight recording after this `time`, from 1s to 24h")
	cmd.Flags().BoolVar(&wait, "wait", true, "wait for the outcome")
	cmd.Flags().DurationVar(&patience, "timeout", profilePatience, "how much `time` to wait in addition to --duration")
	output := addOutput(cmd, asJSON, asYAML, asName)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		action, err := actionOf(args[1])
		if err != nil {
			return err
		}
		namespace, err := p.namespace()
		if err != nil {
			return err
		}
		objects, err := p.objects()
		if err != nil {
			return err
		}
		r := &profileRun{plugin: p, profiles: objects.StormProfiles(namespace)}
		profile, err := r.create(cmd.Context(), args[0], action, lasting)
		if err != nil {
			return err
		}
		if wait {
			if profile, err = r.await(cmd.Context(), profile, patience+lasting); err != nil {
				return err
			}
		}
		return r.tell(profile, output)
	}
	return cmd
}

// actionOf is the action of a name, whatever its case.
func actionOf(name string) (api.ProfileAction, error) {
	var names []string
	for _, a := range actions {
		known, _, _ := strings.Cut(a, "\t")
		if strings.EqualFold(known, name) {
			return api.ProfileAction(known), nil
		}
		names = append(names, known)
	}
	return "", fmt.Errorf("there is no action %q: use %s", name, strings.Join(names, ", "))
}

// profileRun is one profile on its way.
type profileRun struct {
	*plugin
	profiles stormcell.StormProfileInterface
}

func (r *profileRun) create(ctx context.Context, worker string, action api.ProfileAction, lasting time.Duration) (*api.StormProfile, error) {
	profile := &api.StormProfile{
		TypeMeta:   metav1.TypeMeta{APIVersion: api.GroupVersion.String(), Kind: "StormProfile"},
		ObjectMeta: metav1.ObjectMeta{GenerateName: fmt.Sprintf("%s-%s-", worker, strings.ToLower(string(action)))},
		Spec:       api.StormProfileSpec{WorkerName: worker, Action: action},
	}
	if lasting != 0 {
		profile.Spec.Duration = &metav1.Duration{Duration: lasting}
	}
	made, err := r.profiles.Create(ctx, profile, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("profile worker %s: %w", worker, err)
	}
	return made, nil
}

// await waits until a profile is complete, and tells on standard error how far
// it is.
func (r *profileRun) await(ctx context.Context, profile *api.StormProfile, patience time.Duration) (*api.StormProfile, error) {
	waiting, stop := context.WithTimeout(ctx, patience)
	defer stop()
	one := fields.OneTermEqualSelector("metadata.name", profile.Name).String()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = one
			return r.profiles.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = one
			return r.profiles.Watch(ctx, o)
		},
	}
	told := ""
	_, err := watchtools.UntilWithSync(waiting, lw, &api.StormProfile{}, nil, func(e watch.Event) (bool, error) {
		seen, ok := e.Object.(*api.StormProfile)
		if !ok || e.Type == watch.Deleted {
			return false, fmt.Errorf("StormProfile %s was deleted before it was complete", profile.Name)
		}
		profile = seen
		complete := meta.FindStatusCondition(profile.Status.Conditions, api.ProfileComplete)
		if complete == nil || complete.Status == metav1.ConditionTrue {
			return complete != nil, nil
		}
		if complete.Message != told {
			told = complete.Message
			r.note("%s: %s", complete.Reason, told)
		}
		return false, nil
	})
	switch {
	case err == nil:
		return profile, nil
	case ctx.Err() != nil:
		r.note("StormProfile %s continues: kubectl get stormprofile %[1]s -n %s -o wide", profile.Name, profile.Namespace)
		return nil, ctx.Err()
	case errors.Is(waiting.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("StormProfile %[1]s is not complete after %[2]s, and continues: see kubectl get stormprofile %[1]s -n %[3]s -o wide, and kubectl storm explain -n %[3]s %[4]s",
			profile.Name, duration.HumanDuration(patience), profile.Namespace, profile.Spec.WorkerName)
	default:
		return nil, err
	}
}

// tell writes what came of a profile. One that failed is an error.
func (r *profileRun) tell(profile *api.StormProfile, output *outputFlag) error {
	profile.SetGroupVersionKind(api.GroupVersion.WithKind("StormProfile"))
	complete := meta.FindStatusCondition(profile.Status.Conditions, api.ProfileComplete)
	failed := complete != nil && complete.Status == metav1.ConditionTrue && complete.Reason != api.ReasonSucceeded
	var err error
	switch {
	case output.forMachine():
		profile.ManagedFields = nil
		err = output.write(r.harmless(), profile)
	case output.form == asName:
		_, err = fmt.Fprintf(r.Out, "stormprofile.%s/%s\n", api.GroupVersion.Group, profile.Name)
	case complete == nil || complete.Status != metav1.ConditionTrue:
		_, err = fmt.Fprintf(r.Out, "StormProfile %s is created; see kubectl get stormprofile %[1]s -n %s -o wide\n", profile.Name, profile.Namespace)
	default:
		_, err = fmt.Fprint(r.Out, outcome(profile, complete))
	}
	if failed && err == nil {
		return fmt.Errorf("%s of worker %s failed: %s", profile.Spec.Action, profile.Spec.WorkerName, complete.Message)
	}
	return err
}

// outcome is a complete profile in words: its files, which the message of one that
// succeeded names, and the end of its output.
func outcome(profile *api.StormProfile, complete *metav1.Condition) string {
	var b strings.Builder
	if complete.Reason == api.ReasonSucceeded {
		fmt.Fprintf(&b, "%s of worker %s: %s\n", profile.Spec.Action, profile.Spec.WorkerName, screen.Clean(complete.Message))
	} else {
		for _, file := range profile.Status.Files {
			fmt.Fprintf(&b, "on node %s: %s\n", screen.Clean(profile.Status.NodeName), screen.Clean(file))
		}
	}
	if profile.Status.Output != "" {
		b.WriteString("the script's last output:\n")
		for _, line := range slices.Collect(strings.SplitSeq(strings.TrimSpace(profile.Status.Output), "\n")) {
			b.WriteString("  " + screen.Clean(line) + "\n")
		}
	}
	return b.String()
}
