package controllers

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func testBoard(nodes ...string) (*board, *clocktesting.FakePassiveClock) {
	c := clocktesting.NewFakePassiveClock(noon)
	b := newBoard(time.Minute, c)
	for _, n := range nodes {
		b.setNode(n, nodeFacts{ready: true})
		b.beat(n, noon)
	}
	return b, c
}

func withUID(w *api.StormWorker) *api.StormWorker {
	w.UID = types.UID(w.Name)
	return w
}

func TestBoardKeepsASeat(t *testing.T) {
	b, _ := testBoard("n1", "n2")
	w := withUID(newWorker("w", "", 6700))
	first, refusal := b.place(w)
	if refusal.reason != "" {
		t.Fatal(refusal)
	}
	b.setWorker(w) // the cache still says unbound
	if again, _ := b.place(w); again != first {
		t.Errorf("placed on %s, then on %s", first, again)
	}
	other := onNode(withUID(newWorker("other", "", 6700)), first)
	if _, refusal := b.place(other); refusal.reason != api.ReasonPortInUse {
		t.Errorf("a port was given twice: %+v", refusal)
	}
	b.removeWorker(w.UID)
	if node, refusal := b.place(other); node != first {
		t.Errorf("the port did not fall free: %+v", refusal)
	}
}

func TestBoardLeavesANodeThatIsGone(t *testing.T) {
	b, _ := testBoard("n1")
	w := withUID(newWorker("w", "", 6700))
	b.place(w)
	b.removeNode("n1")
	if node, refusal := b.place(w); refusal.reason != api.ReasonNoNodeFits {
		t.Errorf("placed on %q", node)
	}
	b.setNode("n2", nodeFacts{ready: true})
	b.beat("n2", noon)
	if node, _ := b.place(w); node != "n2" {
		t.Errorf("placed on %q, want n2", node)
	}
}

func TestBoardForgets(t *testing.T) {
	b, _ := testBoard("n1")
	w := withUID(newWorker("w", "", 6700))
	b.place(w)
	b.removeNode("n1")
	b.stopBeat("n1")
	b.removeWorker(w.UID)
	if len(b.nodes) != 0 || len(b.seats) != 0 || len(b.pods) != 0 || len(b.short) != 0 {
		t.Errorf("left behind: %v %v", b.nodes, b.seats)
	}
}

func TestBoardSpreads(t *testing.T) {
	b, _ := testBoard("n1", "n2", "n3")
	count := map[string]int{}
	for n := range 9 {
		w := withUID(newWorker(fmt.Sprintf("w%d", n), "", int32(6700+n)))
		node, _ := b.place(w)
		count[node]++
	}
	for node, n := range count {
		if n != 3 {
			t.Errorf("%d workers on %s, want 3", n, node)
		}
	}
}

// TestBoardRoom: workers and pods take room; who found none hears when there
// is some.
func TestBoardRoom(t *testing.T) {
	b, _ := testBoard()
	b.setNode("n1", nodeFacts{ready: true, allocatable: room{cpu: 4000, memory: 4 << 30}})
	b.beat("n1", noon)
	big := func(name string, port int32) *api.StormWorker {
		return limited(withUID(newWorker(name, "", port)), "1", "2Gi")
	}
	first, second, third := big("first", 6700), big("second", 6701), big("third", 6702)
	for _, w := range []*api.StormWorker{first, second} {
		if node, refusal := b.place(w); node != "n1" {
			t.Fatalf("%s: %+v", w.Name, refusal)
		}
	}
	if _, refusal := b.place(third); !refusal.scarce || !strings.Contains(refusal.message, "memory to spare than 2Gi") {
		t.Errorf("no room is left: %+v", refusal)
	}
	if node, _ := b.place(withUID(newWorker("small", "", 6703))); node != "n1" {
		t.Error("one without limits asks for nothing")
	}
	if roused := b.removeWorker(first.UID); len(roused) != 1 || roused[0].Name != "third" {
		t.Errorf("roused %v", roused)
	}
	b.setPod("p", "n1", room{memory: 1})
	if _, refusal := b.place(third); !refusal.scarce {
		t.Error("the pod's room was given away")
	}
	if roused := b.setPod("p", "n1", room{cpu: 3001}); len(roused) != 1 {
		t.Errorf("the pod became smaller: roused %v", roused)
	}
	if _, refusal := b.place(third); !refusal.scarce || !strings.Contains(refusal.message, "CPU to spare than 1") {
		t.Errorf("no CPU is left: %+v", refusal)
	}
	if roused := b.removePod("p"); len(roused) != 1 {
		t.Errorf("roused %v", roused)
	}
	if node, refusal := b.place(third); node != "n1" {
		t.Errorf("the room is not free again: %+v", refusal)
	}
	if roused := b.removeWorker(second.UID); roused != nil {
		t.Errorf("nobody waits, and %v hear", roused)
	}
}

func limited(w *api.StormWorker, cpu, memory string) *api.StormWorker {
	w.Spec.Resources.Limits.CPU, w.Spec.Resources.Limits.Memory = new(apiresource.MustParse(cpu)), new(apiresource.MustParse(memory))
	return w
}

// TestBoardTwoOfOnePort: two bound workers with one port, which only an older
// manager can have made, do not confuse the seats when one goes.
func TestBoardTwoOfOnePort(t *testing.T) {
	b, _ := testBoard("n1")
	first, second := withUID(newWorker("first", "", 6700)), withUID(newWorker("second", "", 6700))
	first.Status.NodeName, second.Status.NodeName = "n1", "n1"
	b.setWorker(first)
	b.setWorker(second)
	b.removeWorker(second.UID)
	if _, refusal := b.place(withUID(newWorker("third", "", 6700))); refusal.reason == "" {
		t.Error("the port of the first was given away")
	}
}

func TestBoardRace(t *testing.T) {
	b, _ := testBoard("n1", "n2", "n3")
	var wg sync.WaitGroup
	placed := make(chan string, 100)
	for n := range 100 {
		wg.Go(func() {
			if node, refusal := b.place(withUID(newWorker(strconv.Itoa(n), "", 6700))); refusal.reason == "" {
				placed <- node
			}
		})
	}
	wg.Wait()
	close(placed)
	seen := map[string]bool{}
	for node := range placed {
		if seen[node] {
			t.Errorf("port 6700 of %s was given twice", node)
		}
		seen[node] = true
	}
	if len(seen) != 3 {
		t.Errorf("%d nodes used, want 3", len(seen))
	}
}

func TestPulse(t *testing.T) {
	type step struct {
		after   time.Duration // since the step before
		renewed time.Duration // the Lease's time since noon; <0 for no news
		want    agentState
	}
	const none = -1
	tests := []struct {
		name  string
		steps []step
	}{
		{"lives while it renews", []step{{0, 0, agentLive}, {50 * time.Second, 50 * time.Second, agentLive}, {50 * time.Second, 100 * time.Second, agentLive}}},
		{"silent after its time", []step{{0, 0, agentLive}, {59 * time.Second, none, agentLive}, {time.Second, none, agentSilent}}},
		{"back from silence", []step{{0, 0, agentLive}, {time.Hour, none, agentSilent}, {0, time.Hour, agentLive}}},
		{"the same Lease seen twice is no sign of life", []step{{0, 0, agentLive}, {40 * time.Second, 0, agentLive}, {20 * time.Second, 0, agentSilent}}},
		{"an old Lease proves nothing, and is given its time", []step{{2 * time.Hour, 0, agentUnproven}, {59 * time.Second, none, agentUnproven}, {time.Second, none, agentSilent}}},
		{"a clock that is behind, and renews", []step{{2 * time.Hour, 0, agentUnproven}, {10 * time.Second, 10 * time.Second, agentLive}}},
		{"a clock that is ahead, and stops", []step{{0, 2 * time.Hour, agentUnproven}, {time.Minute, none, agentSilent}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, c := testBoard()
			now := noon
			for i, s := range tt.steps {
				now = now.Add(s.after)
				c.SetTime(now)
				if s.renewed >= 0 {
					b.beat("n1", noon.Add(s.renewed))
				}
				if got := b.view("n1").agent; got != s.want {
					t.Errorf("step %d: state %d, want %d", i, got, s.want)
				}
			}
		})
	}
	b, _ := testBoard("n1")
	b.stopBeat("n1")
	if got := b.view("n1").agent; got != agentNone {
		t.Errorf("without a Lease: state %d, want %d", got, agentNone)
	}
}

// BenchmarkPlace places workers on 1,000 nodes that have 50 each.
func BenchmarkPlace(b *testing.B) {
	const nodes, workers = 1000, 50
	names := make([]string, nodes)
	for n := range nodes {
		names[n] = fmt.Sprintf("n%d", n)
	}
	board, _ := testBoard(names...)
	for n := range nodes * workers {
		w := onNode(withUID(newWorker(strconv.Itoa(n), "", int32(6700+n/nodes))), names[n%nodes])
		board.place(w)
	}
	w := withUID(newWorker("next", "", 7000))
	b.ReportAllocs()
	for b.Loop() {
		if _, refusal := board.place(w); refusal.reason != "" {
			b.Fatal(refusal)
		}
		board.removeWorker(w.UID)
	}
}
