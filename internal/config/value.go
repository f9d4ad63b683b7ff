package config

import (
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/stormcell/stormcell/internal/store"
)

// setter reads the value n of key into a draft, or notes what is wrong.
type setter func(d *draft, key string, n *yaml.Node)

func text(field func(*draft) *string) setter {
	return func(d *draft, key string, n *yaml.Node) {
		if s, ok := d.scalar(key, n); ok {
			*field(d) = s
		}
	}
}

// absolute takes an absolute path and cleans it.
func absolute(field func(*draft) *string) setter {
	return func(d *draft, key string, n *yaml.Node) {
		if s, ok := d.path(key, n); ok {
			*field(d) = s
		}
	}
}

func texts(field func(*draft) *[]string) setter {
	return func(d *draft, key string, n *yaml.Node) { *field(d) = d.list(key, n, d.scalar) }
}

func absolutes(field func(*draft) *[]string) setter {
	return func(d *draft, key string, n *yaml.Node) { *field(d) = d.list(key, n, d.path) }
}

func boolean(field func(*draft) *bool) setter {
	return func(d *draft, key string, n *yaml.Node) {
		truth, ok := truths[strings.ToLower(n.Value)]
		if !ok || kindOf(n) != "a boolean" {
			d.want(key, n, "true or false, without quotes")
			return
		}
		*field(d) = truth
	}
}

// integer takes whole numbers from least on that fit the field; Storm's are
// Java ints, so most do.
func integer[T int | int64](least T, field func(*draft) *T) setter {
	return func(d *draft, key string, n *yaml.Node) {
		if v, ok := whole[T](n); ok && v >= least {
			*field(d) = v
			return
		}
		d.want(key, n, fmt.Sprintf("a whole number of at least %d", least))
	}
}

// percent takes a whole number from 1 to 100.
func percent(field func(*draft) *int) setter {
	return func(d *draft, key string, n *yaml.Node) {
		if v, ok := whole[int](n); ok && v >= 1 && v <= 100 {
			*field(d) = v
			return
		}
		d.want(key, n, "a whole number from 1 to 100")
	}
}

func seconds(field func(*draft) *time.Duration) setter {
	return func(d *draft, key string, n *yaml.Node) {
		// A Java int of seconds cannot overflow a Duration.
		if v, ok := whole[int](n); ok && v >= 1 && v <= math.MaxInt32 {
			*field(d) = time.Duration(v) * time.Second
			return
		}
		d.want(key, n, "a whole number of seconds, at least 1")
	}
}

// minutes takes 0, too.
func minutes(field func(*draft) *time.Duration) setter {
	return func(d *draft, key string, n *yaml.Node) {
		// A Java int of minutes cannot overflow a Duration.
		if v, ok := whole[int](n); ok && v >= 0 && v <= math.MaxInt32 {
			*field(d) = time.Duration(v) * time.Minute
			return
		}
		d.want(key, n, "a whole number of minutes, at least 0")
	}
}

// number takes numbers of at least least. The upper bound keeps a count of
// MiB, turned into bytes, within an int64.
func number(least float64, field func(*draft) *float64) setter {
	return func(d *draft, key string, n *yaml.Node) {
		const most = 1e12
		var v float64
		if kindOf(n) == "a number" && n.Decode(&v) == nil && v >= least && v <= most {
			*field(d) = v
			return
		}
		d.want(key, n, fmt.Sprintf("a number of at least %g", least))
	}
}

// dockerPlugin is Storm's class for workers in Docker's containers.
const dockerPlugin = "org.apache.storm.container.docker.DockerManager"

// runtimesOfPlugins are the runtimes that Storm's classes stand for; all others
// stand for stormcell's own.
var runtimesOfPlugins = map[string]string{dockerPlugin: dockerRuntime}

// dockerRuntime is the API's name of the runtime Docker.
const dockerRuntime = "Docker"

func readPlugin(d *draft, key string, n *yaml.Node) {
	if s, ok := d.scalar(key, n); ok {
		d.Runtime = runtimesOfPlugins[s]
	}
}

// defaultDockerSocket is where Docker listens if nobody tells it otherwise.
const defaultDockerSocket = "/var/run/docker.sock"

// readSocket takes the URL of a unix socket: who may speak to Docker is root,
// and a network knows no root.
func readSocket(d *draft, key string, n *yaml.Node) {
	s, ok := d.scalar(key, n)
	if !ok {
		return
	}
	path, isUnix := strings.CutPrefix(s, "unix://")
	if !isUnix || !filepath.IsAbs(path) {
		d.problem(key, n.Line, "want the URL of a unix socket, such as unix://%s, have %q", defaultDockerSocket, truncate(s))
		return
	}
	d.DockerSocket = filepath.Clean(path)
}

func readPullPolicy(d *draft, key string, n *yaml.Node) {
	switch p := PullPolicy(n.Value); p {
	case PullAlways, PullIfNotPresent, PullNever:
		d.Docker.Pull = p
	default:
		d.want(key, n, fmt.Sprintf("%q, %q or %q", PullAlways, PullIfNotPresent, PullNever))
	}
}

func readVerify(d *draft, key string, n *yaml.Node) {
	switch v := store.VerifyPolicy(n.Value); v {
	case store.VerifyRequired, store.VerifyIfPresent:
		d.Store.Verify = v
	default:
		d.want(key, n, fmt.Sprintf("%q or %q", store.VerifyRequired, store.VerifyIfPresent))
	}
}

// readSeccomp takes the path of a profile or the word for none.
func readSeccomp(d *draft, key string, n *yaml.Node) {
	switch s, ok := d.scalar(key, n); {
	case !ok:
	case s == Unconfined:
		d.Worker.SeccompProfile = s
	case !filepath.IsAbs(s):
		d.problem(key, n.Line, "want an absolute path or %q, have %q", Unconfined, truncate(s))
	default:
		d.Worker.SeccompProfile = filepath.Clean(s)
	}
}

// scalar takes a string and nothing that YAML reads as something else.
func (d *draft) scalar(key string, n *yaml.Node) (string, bool) {
	switch kind := kindOf(n); {
	case kind != "a string" && n.Kind == yaml.ScalarNode && n.Value != "":
		d.problem(key, n.Line, "want a string, have %s: put %s in quotes", kind, truncate(n.Value))
	case kind != "a string":
		d.want(key, n, "a string")
	case strings.ContainsFunc(n.Value, unicode.IsControl):
		d.problem(key, n.Line, "control characters are not allowed in %q", truncate(n.Value))
	default:
		return n.Value, true
	}
	return "", false
}

func (d *draft) path(key string, n *yaml.Node) (string, bool) {
	s, ok := d.scalar(key, n)
	if !ok {
		return "", false
	}
	if !filepath.IsAbs(s) {
		d.problem(key, n.Line, "want an absolute path, have %q", truncate(s))
		return "", false
	}
	return filepath.Clean(s), true
}

// list takes a list; a bare value is a list of one, as in Storm.
func (d *draft) list(key string, n *yaml.Node, item func(string, *yaml.Node) (string, bool)) []string {
	if n.Kind != yaml.SequenceNode {
		if kindOf(n) != "a string" {
			d.want(key, n, "a list of strings, or one string")
			return nil
		}
		if s, ok := item(key, n); ok {
			return []string{s}
		}
		return nil
	}
	var all []string
	for _, e := range n.Content {
		if s, ok := item(key, target(e)); ok {
			all = append(all, s)
		}
	}
	return all
}

// target follows an alias to the node that it stands for.
func target(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// truths are the booleans of YAML 1.1, which Storm's parser reads; the parser
// here is of YAML 1.2 and takes all but true and false for strings.
var truths = map[string]bool{"true": true, "yes": true, "on": true, "false": false, "no": false, "off": false}

// truthGrammar knows the three ways to write each of them.
var truthGrammar = regexp.MustCompile(`^(?:true|True|TRUE|yes|Yes|YES|on|On|ON|false|False|FALSE|no|No|NO|off|Off|OFF)$`)

// kindOf says in words what YAML 1.1 takes n for.
func kindOf(n *yaml.Node) string {
	if n.Kind == yaml.SequenceNode {
		return "a list"
	}
	if n.Kind == yaml.MappingNode {
		return "a map"
	}
	switch tag := n.ShortTag(); tag {
	case "!!str":
		if n.Style == 0 && truthGrammar.MatchString(n.Value) {
			return "a boolean"
		}
		return "a string"
	case "!!bool":
		return "a boolean"
	case "!!int", "!!float":
		return "a number"
	case "!!null":
		return "nothing"
	case "!!timestamp":
		return "a date"
	default:
		return "a value of type " + truncate(tag)
	}
}

// whole reads a whole number.
func whole[T int | int64](n *yaml.Node) (v T, ok bool) {
	return v, n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" && n.Decode(&v) == nil
}
