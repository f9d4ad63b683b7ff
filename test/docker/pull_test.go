package docker

import (
	"testing"

	. "github.com/onsi/gomega" //nolint:revive // gomega reads as sentences

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

func TestImagesThatCannotBeHad(t *testing.T) {
	for _, tt := range []struct{ name, image, say string }{
		{"absent", d.Registry + "/storm/absent:latest", "push it, or name another"},
		{"without-credentials", otherHost, "stormcell.docker.config"},
		{"nowhere", nowhere, "see whether the registry runs and this node reaches it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := apply(t, aWorker(tt.name, func(spec *api.StormWorkerSpec) { spec.Image = tt.image }))
			c := waitFor(t, w, api.ReasonImagePullFailed)
			expect(t).Expect(c.Message).To(And(ContainSubstring(tt.image), ContainSubstring(tt.say)))
			t.Log(c.Message)
		})
	}
}
