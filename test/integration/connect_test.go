package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	connectv1 "github.com/stormcell/stormcell/api/connect/v1alpha1"
	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/connect"
	"github.com/stormcell/stormcell/internal/kube/managers"
	"github.com/stormcell/stormcell/test/stack"
)

// viewer may view what is in the default namespace, by the cluster's own role.
const viewer = "connect-viewer"

// ask opens a path of the group as a user, by way of the API server.
func ask(t *testing.T, config *rest.Config, path string, o connectv1.LogOptions) (io.ReadCloser, error) {
	t.Helper()
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	req := clients.RESTClient().Get().AbsPath(path)
	for name, values := range o.Query() {
		req.Param(name, values[0])
	}
	return req.Stream(t.Context())
}

// read reads what a path answers to its end.
func read(t *testing.T, config *rest.Config, path string, o connectv1.LogOptions) (string, error) {
	t.Helper()
	body, err := ask(t, config, path, o)
	if err != nil {
		return "", err
	}
	defer body.Close()
	content, err := io.ReadAll(body)
	return string(content), err
}

// letView gives viewer Kubernetes' role "view" in the default namespace.
func letView(t *testing.T) *rest.Config {
	t.Helper()
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, GenerateName: viewer + "-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "stormcell-view"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: viewer}},
	}
	if err := s.Client.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Client.Delete(context.Background(), binding); err != nil {
			t.Error(err)
		}
	})
	user := s.As(viewer)
	expect(t).Eventually(func() error {
		_, err := read(t, user, connect.ListStatsPath(metav1.NamespaceDefault), connectv1.LogOptions{})
		return err
	}).Should(Succeed(), "the manager is known to the API server, and the role to both")
	return user
}

func pathOf(w *api.StormWorker) string { return connect.LogPath(client.ObjectKeyFromObject(w)) }

// TestLogsThroughTheAPIServer follows a worker that prints, and ends.
func TestLogsThroughTheAPIServer(t *testing.T) {
	g := expect(t)
	user := letView(t)
	w := apply(t, aWorker("prints", func(spec *api.StormWorkerSpec) {
		spec.Command = shell(`echo one; echo two >&2; trap 'echo last; exit 3' USR1; kill -STOP $$; while :; do sleep 0.1; done`)
		spec.RestartPolicy = api.RestartNever
	}))
	waitFor(t, w, api.ReasonRunning)
	follow, err := ask(t, user, pathOf(w), connectv1.LogOptions{Follow: true})
	g.Expect(err).NotTo(HaveOccurred())
	defer follow.Close()
	lines := bufio.NewReader(follow)
	var first []string
	for range 2 {
		line, err := lines.ReadString('\n')
		g.Expect(err).NotTo(HaveOccurred())
		first = append(first, line)
	}
	g.Expect(first).To(ConsistOf("one\n", "two\n"))
	for _, sig := range []syscall.Signal{syscall.SIGCONT, syscall.SIGUSR1} {
		g.Expect(syscall.Kill(int(w.Status.PID), sig)).To(Succeed())
	}
	g.Expect(io.ReadAll(lines)).To(BeEquivalentTo("last\n"), "and the end with the worker's")

	tail := int64(1)
	g.Expect(read(t, user, pathOf(w), connectv1.LogOptions{TailLines: &tail, Timestamps: true})).To(MatchRegexp(`^20\d\d-\S+ last\n$`))
	_, err = read(t, user, pathOf(w), connectv1.LogOptions{Previous: true})
	g.Expect(err).To(And(Satisfy(errors.IsBadRequest), MatchError(ContainSubstring("no earlier attempt"))))
	tail = -1
	_, err = read(t, user, pathOf(w), connectv1.LogOptions{TailLines: &tail})
	g.Expect(err).To(And(Satisfy(errors.IsBadRequest), MatchError(ContainSubstring("give a number from 0 to"))))
}

// TestLogsAreRefused: who may not, and what is not there.
func TestLogsAreRefused(t *testing.T) {
	g := expect(t)
	user := letView(t)
	w := apply(t, aWorker("private"))
	waitFor(t, w, api.ReasonRunning)
	_, err := read(t, s.As("somebody"), pathOf(w), connectv1.LogOptions{})
	g.Expect(err).To(Satisfy(errors.IsForbidden))
	other := connect.LogPath(types.NamespacedName{Namespace: "other", Name: w.Name})
	_, err = read(t, user, other, connectv1.LogOptions{})
	g.Expect(err).To(Satisfy(errors.IsForbidden), "of another tenant's namespace")
	none := connect.LogPath(types.NamespacedName{Namespace: w.Namespace, Name: "none"})
	_, err = read(t, user, none, connectv1.LogOptions{})
	g.Expect(err).To(And(Satisfy(errors.IsNotFound), MatchError(ContainSubstring(`"none" not found`))))

	early := apply(t, aWorker("early", func(spec *api.StormWorkerSpec) { spec.Image = "storm/absent:latest" }))
	waitFor(t, early, api.ReasonImageNotResolved)
	_, err = read(t, user, pathOf(early), connectv1.LogOptions{Follow: true})
	g.Expect(err).To(And(Satisfy(errors.IsBadRequest), MatchError(ContainSubstring("has no node yet: ImageNotResolved"))))
}

// TestStatsThroughTheAPIServer: what a worker uses is what the kernel counts.
func TestStatsThroughTheAPIServer(t *testing.T) {
	g := expect(t)
	user := letView(t)
	w := apply(t, aWorker("busy", func(spec *api.StormWorkerSpec) {
		spec.Command = shell(`while :; do :; done`)
		cpu, memory := resource.MustParse("500m"), resource.MustParse("64Mi")
		spec.Resources.Limits = api.WorkerLimits{CPU: &cpu, Memory: &memory}
	}))
	waitFor(t, w, api.ReasonRunning)
	var stats connectv1.StormWorkerStats
	g.Eventually(func() int64 {
		text, err := read(t, user, connect.StatsPath(client.ObjectKeyFromObject(w)), connectv1.LogOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(json.Unmarshal([]byte(text), &stats)).To(Succeed())
		return stats.CPUNanoseconds
	}).Should(BeNumerically(">", 100*time.Millisecond))
	g.Expect(stats.Kind).To(Equal("StormWorkerStats"))
	g.Expect(stats.Name).To(Equal(w.Name))
	g.Expect(stats.CPULimitMillis).To(BeEquivalentTo(500))
	g.Expect(stats.MemoryLimitBytes).To(BeEquivalentTo(64 << 20))
	g.Expect(stats.MemoryBytes).To(And(BeNumerically(">", 100<<10), BeNumerically("<", 64<<20)))
	g.Expect(stats.Pids).To(BeEquivalentTo(1))
	g.Expect(stats.ContainerID).To(Equal(w.ContainerID()))

	var list connectv1.StormWorkerStatsList
	text, err := read(t, user, connect.ListStatsPath(w.Namespace), connectv1.LogOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(json.Unmarshal([]byte(text), &list)).To(Succeed())
	g.Expect(list.Items).To(ConsistOf(HaveField("Name", w.Name)))
	g.Expect(list.Unreachable).To(BeEmpty())
}

// TestLogsWhileTheAgentIsAway: one is told which agent is missing, and what to do.
func TestLogsWhileTheAgentIsAway(t *testing.T) {
	g := expect(t)
	user := letView(t)
	w := apply(t, aWorker("alone"))
	waitFor(t, w, api.ReasonRunning)
	g.Expect(s.StopAgent(syscall.SIGKILL)).To(Succeed())
	_, err := read(t, user, pathOf(w), connectv1.LogOptions{})
	g.Expect(err).To(And(Satisfy(errors.IsServiceUnavailable), MatchError(And(
		ContainSubstring("node-agent of node "+stack.NodeName), ContainSubstring("connection refused"), ContainSubstring("check whether node-agent runs there")))))
	var list connectv1.StormWorkerStatsList
	text, err := read(t, user, connect.ListStatsPath(w.Namespace), connectv1.LogOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(json.Unmarshal([]byte(text), &list)).To(Succeed())
	g.Expect(list.Unreachable).To(ConsistOf(And(HaveField("Node", stack.NodeName), HaveField("Message", ContainSubstring("connection refused")))))

	g.Expect(s.StartAgent()).To(Succeed())
	g.Eventually(func() error {
		_, err := read(t, user, pathOf(w), connectv1.LogOptions{})
		return err
	}).Should(Succeed(), "with the new agent's certificate")
}

// TestViewerOfAllPlaces: one who follows as many logs of a node as can be read at once
// does not keep another user from reading there, by way of the manager and the agent.
func TestViewerOfAllPlaces(t *testing.T) {
	g := expect(t)
	user := letView(t)
	w := apply(t, aWorker("popular", func(spec *api.StormWorkerSpec) { spec.Command = shell("echo one; " + forever) }))
	waitFor(t, w, api.ReasonRunning)
	g.Eventually(func() (string, error) { return read(t, user, pathOf(w), connectv1.LogOptions{}) }).Should(Equal("one\n"))
	const places = 32
	greedy := s.As("greedy", "system:masters")
	for range places {
		follow, err := ask(t, greedy, pathOf(w), connectv1.LogOptions{Follow: true})
		g.Expect(err).NotTo(HaveOccurred())
		defer follow.Close()
	}
	_, err := ask(t, greedy, pathOf(w), connectv1.LogOptions{Follow: true})
	g.Expect(err).To(Satisfy(errors.IsTooManyRequests))
	g.Expect(read(t, user, pathOf(w), connectv1.LogOptions{})).To(Equal("one\n"))
}

// port asks a server directly, without the API server, and trusts any
// certificate. The status is 0 if the server does not answer.
func port(t *testing.T, address, path string, header http.Header, by ...tls.Certificate) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	insecure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: by}, DisableKeepAlives: true}}
	response, err := insecure.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

// tokenFor is a token of a service account for an audience, of the API server if
// there is none.
func tokenFor(t *testing.T, account string, audiences ...string) http.Header {
	t.Helper()
	return tokenIn(t, api.SystemNamespace, account, audiences...)
}

func tokenIn(t *testing.T, namespace, account string, audiences ...string) http.Header {
	t.Helper()
	clients, err := kubernetes.NewForConfig(s.As("admin", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
	made, err := clients.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return http.Header{"Authorization": {"Bearer " + made.Status.Token}}
}

// podThatMayView is an account that any pod could have, with the right to the logs of
// its namespace.
func podThatMayView(t *testing.T) (namespace, name string) {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, GenerateName: "pod-"}}
	if err := s.Client.Create(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, GenerateName: "pod-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "stormcell-view"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: account.Namespace, Name: account.Name}},
	}
	if err := s.Client.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, o := range []client.Object{binding, account} {
			if err := s.Client.Delete(context.Background(), o); err != nil {
				t.Error(err)
			}
		}
	})
	return account.Namespace, account.Name
}

// managersCertificate is what only managers can read.
func managersCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	secret := new(corev1.Secret)
	if err := s.Client.Get(t.Context(), managers.Secret, secret); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// TestPorts: nobody gets around the API server. Without the managers' certificate an
// agent says nothing, whoever it is; with it, only the managers' own token for this
// node counts, and no pod's, whatever rights that has.
func TestPorts(t *testing.T) {
	g := expect(t)
	letView(t)
	w := apply(t, aWorker("guarded"))
	waitFor(t, w, api.ReasonRunning)
	agent := s.AgentConnectAddress()
	mine, manager := connect.Audience(stack.NodeName), api.ManagerFieldOwner
	forged := http.Header{"X-Remote-User": {"admin"}, "X-Remote-Group": {"system:masters"}}
	own, key, err := connect.SelfSigned("stranger", time.Now().Add(time.Hour))
	g.Expect(err).NotTo(HaveOccurred())
	stranger, err := tls.X509KeyPair(own, key)
	g.Expect(err).NotTo(HaveOccurred())
	namespace, pod := podThatMayView(t)
	known := managersCertificate(t)
	for _, tt := range []struct {
		name    string
		address string
		header  http.Header
		by      []tls.Certificate
		status  int
	}{
		{"the agent: a manager", agent, tokenFor(t, manager, mine), []tls.Certificate{known}, http.StatusOK},
		{"the agent: the manager's token without its certificate", agent, tokenFor(t, manager, mine), nil, 0},
		{"the agent: with another certificate", agent, tokenFor(t, manager, mine), []tls.Certificate{stranger}, 0},
		{"the agent: a pod's own token for this node", agent, tokenIn(t, namespace, pod, mine), nil, 0},
		{"the agent: the same by the managers' certificate", agent, tokenIn(t, namespace, pod, mine), []tls.Certificate{known}, http.StatusUnauthorized},
		{"the agent: nobody", agent, nil, nil, 0},
		{"the agent: no token", agent, nil, []tls.Certificate{known}, http.StatusUnauthorized},
		{"the agent: headers of the API server's", agent, forged, []tls.Certificate{known}, http.StatusUnauthorized},
		{"the agent: a token for the API server", agent, tokenFor(t, manager), []tls.Certificate{known}, http.StatusUnauthorized},
		{"the agent: a token for another node", agent, tokenFor(t, manager, connect.Audience("other")), []tls.Certificate{known}, http.StatusUnauthorized},
		{"the agent: nonsense", agent, http.Header{"Authorization": {"Bearer x.y.z"}}, []tls.Certificate{known}, http.StatusUnauthorized},
		{"the agent: another agent's token", agent, tokenFor(t, api.AgentFieldOwner, mine), []tls.Certificate{known}, http.StatusUnauthorized},
		{"the manager: nobody", s.ConnectAddress(), nil, nil, http.StatusUnauthorized},
		{"the manager: headers of the API server's, without its certificate", s.ConnectAddress(), forged, nil, http.StatusUnauthorized},
		{"the manager: the same by the managers' certificate", s.ConnectAddress(), forged, []tls.Certificate{known}, http.StatusUnauthorized},
		{"the manager: a token for the API server", s.ConnectAddress(), tokenFor(t, manager), nil, http.StatusUnauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, body := port(t, tt.address, pathOf(w), tt.header, tt.by...)
			if status != tt.status || status > 0 && status != http.StatusOK && !strings.Contains(body, `"kind":"Status"`) {
				t.Errorf("%d %s, want %d", status, body, tt.status)
			}
			if status == 0 && !strings.Contains(body, "remote error: tls:") {
				t.Errorf("it was not refused in the handshake: %s", body)
			}
		})
	}
	// The token that the node gets from the manager opens nothing else.
	stolen := s.As("")
	stolen.Impersonate, stolen.CertData, stolen.KeyData = rest.ImpersonationConfig{}, nil, nil
	stolen.BearerToken = strings.TrimPrefix(tokenFor(t, manager, mine).Get("Authorization"), "Bearer ")
	_, err = read(t, stolen, "/api/v1/nodes", connectv1.LogOptions{})
	g.Expect(err).To(Satisfy(errors.IsUnauthorized))
}

// TestCertificateIsMadeAnew: without its Secret, or with one that is worthless,
// the managers make another, and the API server and the agents learn of it.
func TestCertificateIsMadeAnew(t *testing.T) {
	g := expect(t)
	user := letView(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: api.SystemNamespace, Name: "stormcell-manager-connect"}}
	w := apply(t, aWorker("renewed"))
	waitFor(t, w, api.ReasonRunning)
	ask := func() error {
		_, err := read(t, user, pathOf(w), connectv1.LogOptions{})
		return err
	}
	g.Expect(s.Client.Get(t.Context(), client.ObjectKeyFromObject(secret), secret)).To(Succeed())
	first := secret.Data[corev1.TLSCertKey]
	g.Expect(s.Client.Delete(t.Context(), secret)).To(Succeed())
	made := func() []byte {
		if err := s.Client.Get(t.Context(), client.ObjectKeyFromObject(secret), secret); err != nil {
			return first
		}
		return secret.Data[corev1.TLSCertKey]
	}
	g.Eventually(made).ShouldNot(Equal(first))
	g.Eventually(ask).Should(Succeed())
	second := secret.Data[corev1.TLSCertKey]
	secret.Data[corev1.TLSPrivateKeyKey] = []byte("nonsense")
	g.Expect(s.Client.Update(t.Context(), secret)).To(Succeed())
	g.Eventually(made).ShouldNot(Equal(second))
	g.Eventually(ask).Should(Succeed())
	g.Expect(string(secret.Data["ca.crt"])).To(ContainSubstring(string(second)), "the one before is trusted, as long as others may serve with it")
}
