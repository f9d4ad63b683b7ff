package v1alpha1

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"
)

func TestLogOptions(t *testing.T) {
	for _, want := range []LogOptions{
		{},
		{Follow: true, Timestamps: true},
		{Previous: true, TailLines: ptr.To[int64](0)},
		{TailLines: ptr.To[int64](MaxTailLines)},
	} {
		query := want.Query()
		query.Set("timeout", "30s") // of a client with a limit
		got, err := ParseLogOptions(query)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v: %v\n%s", want.Query(), err, diff)
		}
	}
}

func TestLogOptionsRefused(t *testing.T) {
	for query, say := range map[string]string{
		"follow=maybe":      "follow",
		"follow=":           "true or false",
		"tailLines=-1":      "tailLines",
		"tailLines=1000001": "from 0 to 1000000",
		"tailLines=x":       "tailLines",
		"sinceSeconds=5":    "unknown parameter",
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseLogOptions(q); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%s: %v, want it to say %q", query, err, say)
		}
	}
}

// FuzzParseLogOptions: what is taken means the same when it is sent on.
func FuzzParseLogOptions(f *testing.F) {
	f.Add("follow=true&tailLines=10")
	f.Add("previous=1&timestamps=T&timeout=3s")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Skip()
		}
		o, err := ParseLogOptions(q)
		if err != nil {
			return
		}
		again, err := ParseLogOptions(o.Query())
		if diff := cmp.Diff(o, again); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", query, err, diff)
		}
	})
}
