package connect

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	connectv1 "github.com/stormcell/stormcell/api/connect/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/review"
)

// paper has one log, which is written by a pipe.
type paper struct{ log io.ReadCloser }

func (p paper) Log(context.Context, types.NamespacedName, connectv1.LogOptions) (io.ReadCloser, error) {
	return p.log, nil
}

func (paper) Stats(context.Context, types.NamespacedName) (*connectv1.StormWorkerStats, error) {
	return nil, errors.New("the disk is broken")
}

func (paper) ListStats(context.Context, string) (*connectv1.StormWorkerStatsList, error) {
	return &connectv1.StormWorkerStatsList{Items: []connectv1.StormWorkerStats{}}, nil
}

// serve serves p, one log at once, to alice, who may get what she asks for in
// namespace a. What the API server was asked is added to asked.
func serve(t *testing.T, p paper, asked *[]authorizationv1.SubjectAccessReviewSpec) *httptest.Server {
	t.Helper()
	return serveTo(t, p, 1, func(review *authorizationv1.SubjectAccessReview) bool {
		*asked = append(*asked, review.Spec)
		return review.Spec.User == "alice" && review.Spec.ResourceAttributes.Namespace == "a"
	})
}

// serveTo serves a backend, and so many logs at once, to those who are allowed.
func serveTo(t *testing.T, backend Backend, logs int, allow func(*authorizationv1.SubjectAccessReview) bool) *httptest.Server {
	t.Helper()
	clients := fake.NewClientset()
	clients.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
		review.Status.Allowed = allow(review)
		return true, review, nil
	})
	guard := &Guard{
		authenticator: authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
			name := req.Header.Get("User")
			return &authenticator.Response{User: &user.DefaultInfo{Name: name, Groups: []string{"g"}}}, name != "", nil
		}),
		access: review.NewAccessBy(clients.AuthorizationV1().SubjectAccessReviews()),
	}
	server := httptest.NewServer(NewHandler(backend, guard, logs, Themselves, slog.New(slog.DiscardHandler)))
	t.Cleanup(server.Close)
	return server
}

// answer is a response that the test's end closes.
type answer struct {
	code   int
	header http.Header
	body   io.Reader
	closes bool
}

func get(t *testing.T, server *httptest.Server, by, path string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User", by)
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return answer{response.StatusCode, response.Header, response.Body, response.Close}
}

var logOfW = LogPath(types.NamespacedName{Namespace: "a", Name: "w"})

func TestHandlerRefuses(t *testing.T) {
	var asked []authorizationv1.SubjectAccessReviewSpec
	server := serve(t, paper{}, &asked)
	for name, tt := range map[string]struct {
		by, path string
		code     int
		say      string
	}{
		"nobody":               {"", logOfW, 401, `"reason":"Unauthorized"`},
		"nobody, discovery":    {"", Base, 401, `"reason":"Unauthorized"`},
		"another user":         {"bob", logOfW, 403, `user \"bob\" may not get it in namespace \"a\"`},
		"another namespace":    {"alice", ListStatsPath("b"), 403, "stormworkerstats.connect.stormcell.dev is forbidden"},
		"a parameter":          {"alice", logOfW + "?tail=1", 400, `unknown parameter \"tail\"`},
		"what is wrong inside": {"alice", StatsPath(types.NamespacedName{Namespace: "a", Name: "w"}), 500, "the disk is broken"},
		"everybody, discovery": {"bob", Base, 200, `"name":"stormworkers/log"`},
		"a list":               {"alice", ListStatsPath("a"), 200, `"kind":"StormWorkerStatsList"`},
	} {
		t.Run(name, func(t *testing.T) {
			response := get(t, server, tt.by, tt.path)
			body, err := io.ReadAll(response.body)
			if err != nil || response.code != tt.code || !strings.Contains(string(body), tt.say) {
				t.Errorf("%d %s, %v, want %d %s", response.code, body, err, tt.code, tt.say)
			}
		})
	}
	for _, spec := range asked {
		if spec.User == "bob" && (spec.ResourceAttributes.Subresource != "log" || spec.ResourceAttributes.Name != "w" || spec.Groups[0] != "g") {
			t.Errorf("the API server was asked for %+v", spec)
		}
	}
}

// TestHandlerStreams: what is there is sent at once, as text and nothing else; a
// log has a place until it ends, and one that breaks off does not look complete.
func TestHandlerStreams(t *testing.T) {
	var asked []authorizationv1.SubjectAccessReviewSpec
	reader, writer := io.Pipe()
	server := serve(t, paper{reader}, &asked)
	follow := get(t, server, "alice", logOfW+"?follow=true") // returns before there is anything
	if kind, sniff := follow.header.Get("Content-Type"), follow.header.Get("X-Content-Type-Options"); kind != "text/plain; charset=utf-8" || sniff != "nosniff" {
		t.Errorf("it is %s, %s", kind, sniff)
	}
	if _, err := io.WriteString(writer, "<b>\x1b[2J"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 7)
	if _, err := io.ReadFull(follow.body, got); err != nil || string(got) != "<b>\x1b[2J" {
		t.Errorf("%q, %v", got, err)
	}
	if second := get(t, server, "alice", logOfW); second.code != http.StatusTooManyRequests || second.header.Get("Retry-After") == "" {
		t.Errorf("one more log: %d, Retry-After %q", second.code, second.header.Get("Retry-After"))
	}
	writer.CloseWithError(errors.New("a bad block"))
	if _, err := io.ReadAll(follow.body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a log that breaks off ends with %v", err)
	}
}

// endless is a log of which there is never more.
type endless struct{ paper }

func (endless) Log(ctx context.Context, _ types.NamespacedName, _ connectv1.LogOptions) (io.ReadCloser, error) {
	reader, writer := io.Pipe()
	context.AfterFunc(ctx, func() { writer.Close() })
	return reader, nil
}

// TestViewerOfManyLogs: one viewer who follows as many logs as there are places does
// not keep others from reading. What the viewer loses does not look complete, and
// what is refused ends its connection only if nobody is known by it.
func TestViewerOfManyLogs(t *testing.T) {
	server := serveTo(t, endless{}, 2, func(review *authorizationv1.SubjectAccessReview) bool { return true })
	first, second := get(t, server, "viewer", logOfW), get(t, server, "viewer", logOfW)
	if first.code != http.StatusOK || second.code != http.StatusOK {
		t.Fatalf("%d, %d", first.code, second.code)
	}
	if third := get(t, server, "viewer", logOfW); third.code != http.StatusTooManyRequests {
		t.Errorf("the viewer's third log: %d", third.code)
	}
	if other := get(t, server, "other", logOfW); other.code != http.StatusOK {
		t.Errorf("another user's log: %d", other.code)
	}
	if _, err := io.ReadAll(second.body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the log that gave up its place ends with %v", err)
	}
	if nobody := get(t, server, "", logOfW); nobody.code != http.StatusUnauthorized || !nobody.closes {
		t.Errorf("nobody gets %d, and the connection ends: %v", nobody.code, nobody.closes)
	}
}
