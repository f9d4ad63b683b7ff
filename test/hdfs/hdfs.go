// Package hdfs gives tests a real HDFS: the daemons of Apache Hadoop on
// loopback, with fail-over and Kerberos where a test asks for them.
package hdfs

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Superuser is the user who may do everything on a secure HDFS; without
// Kerberos it is the user who runs the tests.
const Superuser = "hdfs"

// realm is the Kerberos realm of a secure HDFS.
const realm = "STORMCELL.TEST"

// Options choose what kind of HDFS is started; the zero value has one NameNode,
// three DataNodes and no Kerberos.
type Options struct {
	// HA has two NameNodes, the first of them active, and three JournalNodes.
	HA bool
	// Secure has a KDC and asks for Kerberos tickets.
	Secure bool
	// Protection of RPC and data in a secure HDFS: authentication (when
	// empty), integrity or privacy.
	Protection string
	// TicketLife is how long the tickets of users are good in a secure HDFS,
	// in whole seconds; 10 hours when it is zero.
	TicketLife time.Duration
}

func (o Options) flags() []string {
	var flags []string
	if o.HA {
		flags = append(flags, "--ha")
	}
	if o.Secure {
		flags = append(flags, "--secure")
	}
	if o.Protection != "" {
		flags = append(flags, "--protection", o.Protection)
	}
	if o.TicketLife != 0 {
		flags = append(flags, "--ticket-life", fmt.Sprintf("%ds", int(o.TicketLife.Seconds())))
	}
	return flags
}

// Cluster is a running HDFS.
type Cluster struct {
	dir string
	url string
}

// Start starts an HDFS that serves when Start returns; the caller calls Stop.
func Start(options Options) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "stormcell-hdfs-")
	if err != nil {
		return nil, fmt.Errorf("make HDFS's directory: %w", err)
	}
	c := &Cluster{dir: dir}
	if _, err := c.script("up", options.flags()...); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	url, err := c.script("url")
	if err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	c.url = strings.TrimSpace(url)
	return c, nil
}

// Stop ends the HDFS and removes its files.
func (c *Cluster) Stop() error {
	if _, err := c.script("down"); err != nil {
		return err
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("remove HDFS's directory: %w", err)
	}
	return nil
}

// Main runs a package's tests with an HDFS, for TestMain. Fuzz targets are
// parsers and run without: each of their processes would start one.
func Main(m *testing.M, options Options, use func(*Cluster)) int {
	if onlyFuzzTargets() {
		return m.Run()
	}
	c, err := Start(options)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := c.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	use(c)
	return m.Run()
}

// onlyFuzzTargets tells whether -run chooses fuzz targets only, as hack/fuzz.sh
// does.
func onlyFuzzTargets() bool {
	flag.Parse()
	return strings.HasPrefix(flag.Lookup("test.run").Value.String(), "^Fuzz")
}

// URL is the whole name of a path in this HDFS, as the daemons' configuration
// takes it: hdfs://HOST:PORT/PATH, or hdfs://stormcell/PATH with HA.
func (c *Cluster) URL(name string) string { return c.url + path.Join("/", name) }

// ConfDir holds core-site.xml and hdfs-site.xml: HADOOP_CONF_DIR for clients.
func (c *Cluster) ConfDir() string { return filepath.Join(c.dir, "conf") }

// Keytab is the path of a user's keytab in a secure HDFS. There are hdfs, storm
// and nobody.
func (c *Cluster) Keytab(user string) string {
	return filepath.Join(c.dir, "keytabs", user+".keytab")
}

// Principal is the Kerberos principal of a user.
func (c *Cluster) Principal(user string) string { return user + "@" + realm }

// Krb5Conf is the path of the krb5.conf that leads to the KDC.
func (c *Cluster) Krb5Conf() string { return filepath.Join(c.dir, "krb5.conf") }

// DFS runs "hdfs dfs ARGS..." of the Java client as the superuser and returns
// what it printed. Its error has what it printed of errors.
func (c *Cluster) DFS(args ...string) (string, error) { return c.script("dfs", args...) }

// DFSAs is DFS as another user, who has no ticket in a secure HDFS unless there is
// a keytab.
func (c *Cluster) DFSAs(user string, args ...string) (string, error) {
	return run(c.command("dfs", args...), "HDFS_USER="+user)
}

// Admin runs "hdfs TOOL ARGS..." as the superuser, where the tool is dfsadmin,
// haadmin or fsck.
func (c *Cluster) Admin(tool string, args ...string) (string, error) {
	return c.script("admin", append([]string{tool}, args...)...)
}

// script runs a verb of hack/hdfs.sh on this HDFS.
func (c *Cluster) script(verb string, args ...string) (string, error) {
	return run(c.command(verb, args...))
}

func (c *Cluster) command(verb string, args ...string) *exec.Cmd {
	_, here, _, _ := runtime.Caller(0)
	name := filepath.Join(filepath.Dir(here), "..", "..", "hack", "hdfs.sh")
	// The script has time limits of its own, so that nothing hangs.
	return exec.CommandContext(context.Background(), name, append([]string{verb, c.dir}, args...)...)
}

func run(command *exec.Cmd, env ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	command.Env = append(os.Environ(), env...)
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w: %s", strings.Join(command.Args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
