// Package stack runs stormcell whole, for end-to-end tests and benchmarks: a
// real API server, an image store that docker-to-squash has filled, and the
// manager and the node-agent as processes of their own, on this machine.
package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/kinds"
	"github.com/stormcell/stormcell/test/cluster"
	"github.com/stormcell/stormcell/test/image"
)

// Image is the tag of the small image in the stack's store, OtherImage one that
// is allowed and for the caller to push, and NodeName the name of this machine's
// Node object.
const (
	Image      = "storm/test:latest"
	OtherImage = "storm/other:latest"
	NodeName   = "this-node"
)

// Stack is a running stormcell. Its files lie below Dir.
type Stack struct {
	Dir    string
	Client client.WithWatch

	store  string   // its URL
	images []string // that are allowed, beside the stack's own
	conf   string   // lines of storm.yaml, beside the stack's own
	env    []string // of the programs, beside this process's
	faults bool     // the parts can be made to fail
	// loopback is an address of this machine that no other stack uses.
	loopback string

	cluster        *cluster.Cluster
	bin            string
	manager, agent *exec.Cmd
}

// Option changes what a Stack is made of.
type Option func(*Stack)

// WithStore puts the image store at a URL, and not into a folder of the stack.
// Env holds what programs need to reach it, such as HADOOP_CONF_DIR=/conf.
func WithStore(url string, env ...string) Option {
	return func(s *Stack) { s.store, s.env = url, env }
}

// WithConfiguration adds lines to storm.yaml, and images to those allowed.
func WithConfiguration(lines string, images ...string) Option {
	return func(s *Stack) { s.conf, s.images = lines, images }
}

// Start starts everything but the agent; the caller calls Stop. Dir is below
// /var/lib, since root's configuration must not lie below a folder that
// others can write.
func Start(ctx context.Context, options ...Option) (s *Stack, err error) {
	dir, err := os.MkdirTemp("/var/lib", "stormcell-test-")
	if err != nil {
		return nil, fmt.Errorf("make the stack's directory: %w", err)
	}
	s = &Stack{Dir: dir, bin: filepath.Join(dir, "bin"), store: "file://" + filepath.Join(dir, "store"), loopback: cluster.Loopback()}
	for _, option := range options {
		option(s)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	// The worker's user passes through to its own files.
	if err := os.Chmod(dir, 0o711); err != nil {
		return s, fmt.Errorf("open the stack's directory: %w", err)
	}
	for _, step := range []func(context.Context) error{s.build, s.prepareFaults, s.configure, s.fillStore, s.startCluster, s.startManager} {
		if err := step(ctx); err != nil {
			return s, err
		}
	}
	return s, nil
}

// build builds the three binaries as a user would.
func (s *Stack) build(ctx context.Context) error {
	tags := ""
	if s.faults {
		tags = faultsTag
	}
	return s.command(ctx, "go", "build", "-tags", tags, "-o", s.bin+"/", "./cmd/manager", "./cmd/node-agent", "./cmd/docker-to-squash")
}

func (s *Stack) command(ctx context.Context, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = cluster.Root()
	c.Env = append(os.Environ(), s.env...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w:\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// Path is a path below the stack's directory.
func (s *Stack) Path(elements ...string) string {
	return filepath.Join(append([]string{s.Dir}, elements...)...)
}

// CgroupParent is where the stack's workers' cgroups are.
func (s *Stack) CgroupParent() string { return "/" + filepath.Base(s.Dir) }

func (s *Stack) configure(context.Context) error {
	var images strings.Builder
	for _, i := range s.images {
		fmt.Fprintf(&images, ", %q", i)
	}
	storm := fmt.Sprintf(`storm.local.dir: %[1]s/storm
storm.workers.artifacts.dir: %[1]s/artifacts
storm.oci.allowed.images: ["%[2]s", "storm/absent:latest", "%[5]s"%[6]s]
storm.oci.image: "%[2]s"
storm.oci.image.hdfs.toplevel.dir: "%[4]s"
storm.oci.local.or.hdfs.image.tag.to.manifest.plugin.cache.refresh.interval.secs: 1
storm.oci.resources.local.dir: %[1]s/cache
stormcell.cache.max.bytes: 1099511627776
storm.oci.layer.mounts.to.keep: 0
storm.oci.cgroup.parent: %[3]s
storm.cgroup.memory.enforcement.enable: true
storm.oci.readonly.bindmounts: ["%[1]s/bind"]
storm.oci.readwrite.bindmounts: ["%[1]s/shared"]
supervisor.numa.meta: {"0": {numa.cores: [0], numa.memory.mb: 1024, numa.ports: [65535]}}
stormcell.worker.pids.limit: 256
stormcell.run.root: %[1]s/run
stormcell.log.dir: %[1]s/log
%[7]s`, s.Dir, Image, s.CgroupParent(), s.store, OtherImage, &images, s.conf)
	launcher := "min.user.id=1000\nbanned.users=bin,daemon\n"
	if s.faults {
		launcher += "worker.launcher.oci.runc=" + s.program("runc") + "\n"
	}
	for _, dir := range []string{"bind", "shared"} {
		if err := os.MkdirAll(s.Path(dir), 0o755); err != nil {
			return fmt.Errorf("make bind mount source: %w", err)
		}
	}
	for file, content := range map[string]string{"storm.yaml": storm, "worker-launcher.cfg": launcher} {
		if err := os.WriteFile(s.Path(file), []byte(content), 0o600); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	return nil
}

func (s *Stack) fillStore(ctx context.Context) error {
	archive := s.Path("image.tar")
	if err := image.Write(archive, Image); err != nil {
		return err
	}
	return s.Push(ctx, "docker-archive:"+archive, Image)
}

// Push puts an image, named as docker-to-squash names sources, into the store.
func (s *Stack) Push(ctx context.Context, source, tag string) error {
	return s.command(ctx, filepath.Join(s.bin, "docker-to-squash"), "--store", s.store, "--bootstrap",
		"pull-build-push-update", source+","+tag)
}

func (s *Stack) startCluster(ctx context.Context) error {
	var err error
	if s.cluster, err = cluster.Start(ctx); err != nil {
		return err
	}
	if err := s.cluster.Install(ctx, "base"); err != nil {
		return err
	}
	if s.Client, err = client.NewWithWatch(s.cluster.Config, client.Options{Scheme: kinds.Scheme()}); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := s.createNode(ctx); err != nil {
		return err
	}
	if err := s.cluster.Connect(ctx, s.loopback); err != nil {
		return err
	}
	if err := s.identify(ctx, "manager", "stormcell-manager", ""); err != nil {
		return err
	}
	return s.identify(ctx, "node-agent", "stormcell-node-agent", NodeName)
}

// createNode does what kubelet does for this machine.
func (s *Stack) createNode(ctx context.Context) error {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: NodeName}}
	if err := s.Client.Create(ctx, node); err != nil {
		return fmt.Errorf("create node %s: %w", NodeName, err)
	}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: s.loopback}}
	if err := s.Client.Status().Update(ctx, node); err != nil {
		return fmt.Errorf("address of node %s: %w", NodeName, err)
	}
	return nil
}

// As connects as a user of the cluster with some groups.
func (s *Stack) As(user string, groups ...string) *rest.Config {
	config := rest.CopyConfig(s.cluster.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	return config
}

// ConnectAddress is where the manager answers the API server.
func (s *Stack) ConnectAddress() string { return net.JoinHostPort(s.loopback, cluster.ConnectPort) }

// AgentConnectAddress is where the node-agent answers the manager, unless another
// program has the port.
func (s *Stack) AgentConnectAddress() string { return s.loopback + ":9444" }

// identify gives a daemon a token of its service account, on a node or on none.
func (s *Stack) identify(ctx context.Context, name, account, node string) error {
	user, err := s.cluster.Account(ctx, account, node)
	if err != nil {
		return err
	}
	if err := os.Mkdir(s.Path(name), 0o700); err != nil {
		return fmt.Errorf("make directory of %s: %w", name, err)
	}
	_, err = cluster.WriteKubeconfig(user, s.Path(name))
	return err
}

func (s *Stack) startManager(context.Context) error {
	var err error
	s.manager, err = s.daemon("manager", nil, "--leader-elect=false", "--config", s.Path("storm.yaml"),
		"--metrics-bind-address", s.managerMetrics(), "--health-probe-bind-address", "0",
		"--connect-bind-address", s.ConnectAddress())
	return err
}

// StartAgent starts the node-agent, unless it runs.
func (s *Stack) StartAgent() error { return s.startAgent() }

// startAgent starts the node-agent by way of another program's command line.
func (s *Stack) startAgent(by ...string) error {
	if s.agent != nil {
		return nil
	}
	args := []string{
		"--node-name", NodeName, "--config", s.Path("storm.yaml"), "--launcher-config", s.Path("worker-launcher.cfg"),
		"--metrics-bind-address", s.agentMetrics(),
		"--connect-bind-address", s.AgentConnectAddress(), "--log-level", "debug",
	}
	if s.faults {
		args = append(args, "--conmon", s.program("conmon"))
	}
	var err error
	s.agent, err = s.daemon("node-agent", by, args...)
	return err
}

func (s *Stack) daemon(name string, by []string, args ...string) (*exec.Cmd, error) {
	log, err := os.OpenFile(s.Path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer log.Close()
	line := slices.Concat(by, []string{filepath.Join(s.bin, name)}, args, []string{"--kubeconfig", s.Path(name, "kubeconfig")})
	c := exec.Command(line[0], line[1:]...) //nolint:noctx // it lives until Stop
	c.Stdout, c.Stderr = log, log
	c.Env = append(os.Environ(), s.env...)
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c, nil
}

// AgentPID is the process of the node-agent.
func (s *Stack) AgentPID() int { return s.agent.Process.Pid }

// APIMetrics returns the API server's metrics.
func (s *Stack) APIMetrics(ctx context.Context) ([]byte, error) { return s.cluster.Metrics(ctx) }

// AwaitAgent waits until the node-agent, started after a moment, is ready: then
// it has renewed its Lease.
func (s *Stack) AwaitAgent(ctx context.Context, started time.Time) error {
	lease := &coordinationv1.Lease{}
	key := client.ObjectKey{Namespace: api.SystemNamespace, Name: api.LeaseName(NodeName)}
	err := s.poll(ctx, func() (bool, error) {
		if err := s.Client.Get(ctx, key, lease); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		return lease.Spec.RenewTime != nil && lease.Spec.RenewTime.After(started), nil
	})
	if err != nil {
		return fmt.Errorf("wait for the node-agent's Lease: %w", err)
	}
	return nil
}

// StopAgent ends the node-agent with a signal; SIGKILL is a crash.
func (s *Stack) StopAgent(sig syscall.Signal) error {
	err := stop(s.agent, sig)
	s.agent = nil
	return err
}

func stop(c *exec.Cmd, sig syscall.Signal) error {
	if c == nil {
		return nil
	}
	if err := c.Process.Signal(sig); err != nil {
		return fmt.Errorf("end %s: %w", c.Path, err)
	}
	var exit *exec.ExitError
	if err := c.Wait(); err != nil && (sig == syscall.SIGTERM || !errors.As(err, &exit)) {
		return fmt.Errorf("end %s: %w", c.Path, err)
	}
	return nil
}

// removeCgroups removes the parent cgroups, which outlive workers.
func (s *Stack) removeCgroups() error {
	for _, pattern := range []string{"*", ""} {
		dirs, err := s.CgroupDirs(pattern)
		if err != nil {
			return err
		}
		for _, d := range dirs {
			_ = os.Remove(d) // one that is in use is among the leftovers
		}
	}
	return nil
}

// Stop ends every part and deletes the stack's files. Workers must be gone. Those that
// are not are named and killed: without their agent they would go on for ever.
func (s *Stack) Stop() error {
	err := errors.Join(stop(s.agent, syscall.SIGTERM), stop(s.manager, syscall.SIGTERM))
	if s.cluster != nil {
		err = errors.Join(err, s.cluster.Stop())
	}
	err = errors.Join(err, s.removeCgroups(), s.removeDisks())
	if left := s.Leftovers(); len(left) > 0 {
		const named = 20
		return errors.Join(err, s.killWorkers(), fmt.Errorf("%s is kept, since %d things are left, such as %s",
			s.Dir, len(left), strings.Join(left[:min(named, len(left))], ", ")))
	}
	return errors.Join(err, os.RemoveAll(s.Dir))
}
