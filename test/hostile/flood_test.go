package hostile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/connect"
	"github.com/stormcell/stormcell/test/suite"
)

// readLog reads the log of a worker as an admin.
func readLog(ctx context.Context, w *api.StormWorker) (string, error) {
	clients, err := kubernetes.NewForConfig(s.As("admin", "system:masters"))
	if err != nil {
		return "", err
	}
	body, err := clients.RESTClient().Get().AbsPath(connect.LogPath(client.ObjectKeyFromObject(w))).Stream(ctx)
	if err != nil {
		return "", err
	}
	defer body.Close()
	content, err := io.ReadAll(body)
	return string(content), err
}

// cpuOf is how long a process has run on a CPU.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// The second field, the program's name, ends with the last parenthesis.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	const tick = 10 * time.Millisecond // USER_HZ, the same on every machine
	user, err := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * tick
}

// TestFlood: a worker floods the port of its agent, or of a manager, with tokens of
// nobody's and with silent connections, from the address that those who are let in
// come from, too. An admin reads logs all the while.
func TestFlood(t *testing.T) {
	for name, address := range map[string]string{"agent": s.AgentConnectAddress(), "manager": s.ConnectAddress()} {
		t.Run(name, func(t *testing.T) {
			g := suite.Expect(t)
			talker := start(t, api.RuntimeRunc, "talker-"+name, func(*api.StormWorkerSpec) []string { return []string{"listen", "127.0.0.1:0"} })
			g.Eventually(func() (string, error) { return readLog(t.Context(), talker) }).Should(ContainSubstring("listening"))

			flooder := start(t, api.RuntimeRunc, "flooder-"+name, func(spec *api.StormWorkerSpec) []string {
				spec.Resources.Limits.CPU = new(resource.MustParse("1"))
				return []string{"flood", address, "300", "900"}
			})
			g.Eventually(func() string { return logOf(t, flooder) }).Should(ContainSubstring("flooding"))
			readUnderFlood(t, talker)
			g.Expect(logOf(t, flooder)).NotTo(ContainSubstring("FAILED"))
		})
	}
}

// readUnderFlood reads a log again and again, for some seconds, and notes how long
// that took. So many read at once that the manager has to make new connections to
// the agent, beside those that it keeps.
func readUnderFlood(t *testing.T, w *api.StormWorker) {
	t.Helper()
	const rounds, atOnce = 20, 10
	next := time.NewTicker(500 * time.Millisecond)
	defer next.Stop()
	var took []time.Duration
	var failures []string
	began, used := time.Now(), cpuOf(t, s.AgentPID())
	for range rounds {
		<-next.C
		var all sync.WaitGroup
		var mu sync.Mutex
		for range atOnce {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), suite.Patience)
				defer cancel()
				at := time.Now()
				text, err := readLog(ctx, w)
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(at))
				if err != nil || !strings.Contains(text, "listening") {
					failures = append(failures, fmt.Sprintf("%q, %v", text, err))
				}
			})
		}
		all.Wait()
		if len(failures) > 0 {
			t.Errorf("%d of %d log reads under the flood failed, such as %s", len(failures), len(took), failures[0])
			break
		}
	}
	share := float64(cpuOf(t, s.AgentPID())-used) / float64(time.Since(began))
	slices.Sort(took)
	t.Logf("%d log reads; median %s, p99 %s, longest %s; the agent used %.0f %% of a core",
		len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1], 100*share)
}
