//go:build faults

package faults

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// worker is a StormWorker whose process writes down its own life.
type worker struct {
	*api.StormWorker
	// codes are what its runs end with, one after the other; the next run stays.
	codes []int
	// unseen is how many of its runs a scenario has ended in a way that nobody
	// can tell the exit code of; unseenLast, that the last ended one is such.
	unseen     int
	unseenLast bool
}

// life is the script of a worker. The lock is the kernel's and goes with the
// process, so that it is not free while an earlier run of the worker lasts.
const life = `
cd %q
%s
exec 9>>lock
if ! flock -n 9; then echo doubled >>life; exit 99; fi
codes=(%s)
runs=0
[ -e life ] && while read -r word _; do [ "$word" = exit ] && ((runs++)); done <life
finish() { echo "exit $1" >>life; exit "$1"; }
trap '%s' TERM
echo start >>life
if ((runs < ${#codes[@]})); then
	sleep 0.3 & wait $!
	finish "${codes[runs]}"
fi
while :; do sleep infinity & wait $!; done
`

// How a worker takes SIGTERM: it ends, or it does not care.
const (
	obedient = "finish 0"
	stubborn = ":"
)

// newWorker makes a worker on a port of its own.
func (t *trial) newWorker(manner string, policy api.RestartPolicy, codes []int) *worker {
	t.workers++
	port := int32(6700 + t.workers)
	const topology = "faults-1-1608581491"
	dir := t.stack.Path("artifacts", topology, strconv.Itoa(int(port)))
	script := fmt.Sprintf(life, dir, t.plants(dir),
		strings.Trim(fmt.Sprint(codes), "[]"), manner)
	return &worker{codes: codes, StormWorker: &api.StormWorker{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("w%d", t.workers), Namespace: metav1.NamespaceDefault},
		Spec: api.StormWorkerSpec{
			TopologyID: topology, Port: port, User: "nobody", Command: []string{"bash", "-c", script},
			RestartPolicy: policy, TerminationGracePeriodSeconds: new(int64(1)),
		},
	}}
}

// plants is what every third worker does first at each start: it fills its directories
// with what root could stumble over at any of the agent's steps.
func (t *trial) plants(dir string) string {
	if t.workers%3 != 0 {
		return ":"
	}
	return fmt.Sprintf(`"%s" plant "%s" "$OLDPWD" "%s" /tmp &>/dev/null`, t.stack.Hostile(), t.canary(), dir)
}

// canary is a directory of root's that what workers plant leads to.
func (t *trial) canary() string { return t.stack.Path("canary") }

// account is what a worker has written down of its life.
type account struct {
	starts, exits, doubled int
	last                   int // the last exit code
}

func (t *trial) accountOf(w *worker) account {
	t.Helper()
	path := t.stack.Path("artifacts", w.Spec.TopologyID, strconv.Itoa(int(w.Spec.Port)), "life")
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var a account
	for line := range strings.Lines(string(content)) {
		switch word, code, _ := strings.Cut(strings.TrimSpace(line), " "); word {
		case "start":
			a.starts++
		case "exit":
			a.exits++
			if a.last, err = strconv.Atoi(code); err != nil {
				t.Fatalf("%s: %q", path, line)
			}
		default:
			a.doubled++
		}
	}
	return a
}

// goal is where a worker shall come to rest, by its spec.
type goal struct {
	reason string
	exits  int
}

// goalOf follows a worker's restart policy through the codes that its runs end with.
func goalOf(w *worker) goal {
	codes := slices.Clone(w.codes)
	for range w.unseen {
		codes = append([]int{unknown}, codes...)
	}
	for i, code := range codes {
		again := w.Spec.RestartPolicy == api.RestartAlways || w.Spec.RestartPolicy == api.RestartOnFailure && code != 0
		switch {
		case again:
		case code == 0:
			return goal{api.ReasonCompleted, i + 1}
		default:
			return goal{api.ReasonFailed, i + 1}
		}
	}
	return goal{api.ReasonRunning, len(codes)}
}

// unknown is the exit code of what nobody saw.
const unknown = -1

// missed tells what workers that have come to rest wrote down of their lives
// and status does not tell.
func (t *trial) missed() (missed []string) {
	for _, w := range t.present {
		a := t.accountOf(w)
		say := func(format string, args ...any) { missed = append(missed, w.Name+": "+fmt.Sprintf(format, args...)) }
		ends := a.exits + w.unseen
		if want := goalOf(w).exits; ends != want {
			say("%d runs have ended, want %d", ends, want)
		}
		if n := int(w.Status.RestartCount) + 1; a.starts != n {
			say("it was started %d times, status tells of %d", a.starts, n)
		}
		want := a.last
		if w.unseenLast {
			want = unknown
		}
		switch exit := w.Status.LastExit; {
		case ends == 0 && exit != nil:
			say("it has not ended, status tells of exit code %d", exit.ExitCode)
		case ends > 0 && exit == nil:
			say("it has ended with %d, status tells of no end", want)
		case ends > 0 && int(exit.ExitCode) != want:
			say("it has ended with %d, status tells of %d", want, exit.ExitCode)
		}
	}
	return missed
}
