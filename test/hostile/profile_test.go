package hostile

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/suite"
)

// TestProfile: what a profile runs of a worker's is confined as the worker is, and the
// worker's process does not choose it.
func TestProfile(t *testing.T) { inEach(t, profiles) }

func profiles(t *testing.T, in api.Runtime) {
	t.Helper()
	for _, tt := range []struct {
		name string
		// chosen is true where the worker's object names the program.
		chosen bool
	}{{"by-its-process", false}, {"by-its-object", true}} {
		t.Run(tt.name, func(t *testing.T) {
			g := suite.Expect(t)
			var dir string
			w := start(t, in, "profiled-"+tt.name, func(spec *api.StormWorkerSpec) []string {
				dir = artifacts(spec)
				if tt.chosen {
					spec.Env = []api.EnvVar{{Name: "JAVA_HOME", Value: filepath.Join(dir, "jdk")}}
				}
				return append([]string{"jvm", dir}, hostSpaces(t)...)
			})
			g.Eventually(func() string { return logOf(t, w) }).Should(ContainSubstring("ready"))
			p := suite.Profiled(t, s.Client, w.Name, api.ProfileJStack, api.ReasonFailed)
			found, err := os.ReadFile(filepath.Join(dir, "found"))
			if !tt.chosen {
				g.Expect(err).To(MatchError(os.ErrNotExist), "its jcmd was run: %s", found)
				g.Expect(p.Status.Output).To(ContainSubstring("the image has no jcmd"))
				return
			}
			g.Expect(err).NotTo(HaveOccurred(), p.Status.Output)
			g.Expect(regexp.MustCompile("ESCAPED.*").FindAllString(string(found), -1)).To(BeEmpty())
			g.Expect(string(found)).To(MatchRegexp(tried.String()), "it came to no end")
			n, err := strconv.Atoi(tried.FindStringSubmatch(string(found))[1])
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(n).To(BeNumerically(">=", minProbes))
			g.Expect(strings.Count(string(found), "held: ")).To(Equal(n))
		})
	}
}

// hostSpaces are the host's name spaces, as the worker's program names them.
func hostSpaces(t *testing.T) []string {
	t.Helper()
	var links []string
	for _, name := range []string{"cgroup", "ipc", "mnt", "pid", "uts"} {
		link, err := os.Readlink("/proc/self/ns/" + name)
		if err != nil {
			t.Fatal(err)
		}
		links = append(links, link)
	}
	return links
}
