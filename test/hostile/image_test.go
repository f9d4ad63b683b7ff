package hostile

import (
	"archive/tar"
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/test/image"
	"github.com/stormcell/stormcell/test/suite"
)

// hostileImages are the tags of images that work against the node.
var hostileImages = []string{"storm/fifo:latest", "storm/link:latest"}

// TestAccountsOfAnImage: the runtime opens the account files of an image as root. A fifo
// would hold up the launch, and a link leads to what the worker puts there.
func TestAccountsOfAnImage(t *testing.T) {
	for name, entry := range map[string]*tar.Header{
		"fifo": {Typeflag: tar.TypeFifo, Name: "etc/passwd", Mode: 0o644},
		"link": {Typeflag: tar.TypeSymlink, Name: "etc/group", Linkname: "/tmp/group", Mode: 0o777},
	} {
		t.Run(name, func(t *testing.T) {
			g := suite.Expect(t)
			archive := s.Path(name + ".tar")
			tag := "storm/" + name + ":latest"
			g.Expect(image.WriteEntries(archive, tag, entry)).To(Succeed())
			g.Expect(s.Push(t.Context(), "docker-archive:"+archive, tag)).To(Succeed())
			w := start(t, api.RuntimeRunc, "accounts-"+name, func(spec *api.StormWorkerSpec) []string {
				spec.Image = tag
				return []string{"listen"}
			})
			ready := suite.WaitFor(t, s.Client, w, api.ReasonStartFailed)
			g.Expect(ready.Message).To(ContainSubstring("the image is not safe to start: /" + entry.Name + " "))
		})
	}
}
