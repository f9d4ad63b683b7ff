package review

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

const (
	audience = "stormcell.dev/node/n1"
	manager  = "system:serviceaccount:stormcell-system:stormcell-manager"
)

// server answers reviews, and counts them.
type server struct {
	mu      sync.Mutex
	reviews int
	// users are by token.
	users map[string]string
	away  bool
}

func (s *server) tokens(only Only, now func() time.Time) *Tokens {
	clients := fake.NewClientset()
	clients.PrependReactor("create", "tokenreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.reviews++
		if s.away {
			return true, nil, errors.New("away")
		}
		review := action.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview)
		name, ok := s.users[review.Spec.Token]
		review.Status = authenticationv1.TokenReviewStatus{Authenticated: ok, Audiences: review.Spec.Audiences, User: authenticationv1.UserInfo{Username: name}}
		return true, review, nil
	})
	return newTokens(clients.AuthenticationV1().TokenReviews(), only, now)
}

// jwt is a token that says something of itself.
func jwt(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func claimsOf(aud, sub string, until time.Time) string {
	return fmt.Sprintf(`{"aud":[%q],"sub":%q,"exp":%d,"iss":"https://kubernetes"}`, aud, sub, until.Unix())
}

// TestOnlyTheManagersTokens: nobody is asked about a token that says of itself that
// it is another's; one that lies is refused by what the API server says. So no pod's
// own token counts, even with the node's audience.
func TestOnlyTheManagersTokens(t *testing.T) {
	now := time.Now()
	later := now.Add(time.Minute)
	good, pods, liar := jwt(claimsOf(audience, manager, later)), jwt(claimsOf(audience, "system:serviceaccount:a:pod", later)), jwt(claimsOf(audience, manager, later)+" ")
	s := &server{users: map[string]string{good: manager, pods: "system:serviceaccount:a:pod", liar: "system:serviceaccount:a:pod"}}
	tokens := s.tokens(Only{audience, manager}, func() time.Time { return now })
	for _, tt := range []struct {
		name, token string
		known       bool
		reviews     int
	}{
		{"the manager's", good, true, 1},
		{"the manager's again", good, true, 0},
		{"a pod's own, for this node", pods, false, 0},
		{"a pod's, that says it is the manager's", liar, false, 1},
		{"the same again", liar, false, 0},
		{"one for another node", jwt(claimsOf("stormcell.dev/node/n2", manager, later)), false, 0},
		{"one that is out of date", jwt(claimsOf(audience, manager, now.Add(-2*clockSkew))), false, 0},
		{"nonsense", "x.y.z", false, 0},
		{"nothing", "", false, 0},
		{"claims of other types", jwt(`{"aud":7,"sub":[]}`), false, 0},
		{"a long one", good + strings.Repeat("x", maxToken), false, 0},
	} {
		before := s.reviews
		by, err := tokens.User(t.Context(), "", tt.token)
		if err != nil || (by != nil) != tt.known || s.reviews-before != tt.reviews {
			t.Errorf("%s: %v, %v after %d reviews", tt.name, by, err, s.reviews-before)
		}
	}
}

// TestStrangersDoNotUseUpReviews: one who shows many unknown tokens is refused, and
// neither another caller is, nor one whose token was good before.
func TestStrangersDoNotUseUpReviews(t *testing.T) {
	now := time.Now()
	s := &server{users: map[string]string{"good": "reader"}}
	tokens := s.tokens(Only{}, func() time.Time { return now })
	is := func(caller, token string) error {
		_, err := tokens.User(t.Context(), caller, token)
		return err
	}
	if err := is("reader", "good"); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for n := range 1000 {
		if errors.Is(is("stranger", fmt.Sprint("bad", n)), ErrTooMany) {
			refused++
		}
	}
	// The limit counts real time: on a slow machine a few more get through.
	if asked := s.reviews - 1; refused == 0 || asked > 500 {
		t.Errorf("%d tokens were asked about, %d refused", asked, refused)
	}
	now = now.Add(2 * tokenTTL) // so that it is asked again
	before := s.reviews
	if err := is("stranger", "good"); err != nil || s.reviews != before+1 {
		t.Errorf("a token that was good: %v, after %d reviews", err, s.reviews-before)
	}
	if err := is("another", "new"); err != nil {
		t.Errorf("another caller: %v", err)
	}
	delete(s.users, "good")
	now = now.Add(2 * tokenTTL)
	if by, err := tokens.User(t.Context(), "another", "good"); by != nil || err != nil {
		t.Errorf("a token that is good no more: %v, %v", by, err)
	}
}

// TestNoAnswerIsNoAnswer: what the API server could not say is asked again.
func TestNoAnswerIsNoAnswer(t *testing.T) {
	s := &server{users: map[string]string{"good": "reader"}, away: true}
	tokens := s.tokens(Only{}, time.Now)
	if _, err := tokens.User(t.Context(), "a", "good"); err == nil || errors.Is(err, ErrTooMany) {
		t.Error(err)
	}
	s.away = false
	if by, err := tokens.User(t.Context(), "a", "good"); by == nil || err != nil {
		t.Errorf("%v, %v", by, err)
	}
}

// TestAccess: what is allowed is asked once for a while, and what is not, each time.
func TestAccess(t *testing.T) {
	asked := 0
	clients := fake.NewClientset()
	clients.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
		asked++
		review.Status.Allowed = review.Spec.User == "alice"
		return true, review, nil
	})
	access := NewAccessBy(clients.AuthorizationV1().SubjectAccessReviews())
	may := func(name, verb string) bool {
		allowed, err := access.ToResource(t.Context(), &user.DefaultInfo{Name: name}, authorizationv1.ResourceAttributes{Verb: verb})
		if err != nil {
			t.Error(err)
		}
		return allowed
	}
	for _, tt := range []struct {
		name, verb     string
		allowed, again bool
	}{{"alice", "get", true, false}, {"alice", "list", true, false}, {"bob", "get", false, true}} {
		before := asked
		if first, second := may(tt.name, tt.verb), may(tt.name, tt.verb); first != tt.allowed || second != tt.allowed || (asked-before == 2) != tt.again {
			t.Errorf("%s may %s: %v, %v, after %d reviews", tt.name, tt.verb, first, second, asked-before)
		}
	}
}

// FuzzParse: whatever a stranger shows, it is read or it is not.
func FuzzParse(f *testing.F) {
	f.Add(jwt(claimsOf(audience, manager, time.Now())))
	f.Add(jwt(`{"aud":"a","exp":1e400}`))
	f.Add("..")
	f.Add(jwt(strings.Repeat("[", 1000)))
	f.Fuzz(func(t *testing.T, token string) {
		c, ok := parse(token)
		if !ok && (c.Subject != "" || len(c.Audience) > 0) {
			t.Errorf("claims of a token that is none: %+v", c)
		}
		if (Only{audience, manager}).admits(token, time.Now()) && (!ok || c.Subject != manager) {
			t.Errorf("admitted with %+v", c)
		}
	})
}
