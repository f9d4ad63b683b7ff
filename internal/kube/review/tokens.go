package review

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/client-go/rest"
)

const (
	// tokenTTL is for how long the answer on a token is good.
	tokenTTL = 30 * time.Second
	// rememberTTL is for how long a token that was good is asked about again
	// without a limit.
	rememberTTL = time.Hour
	// maxToken is far beyond a service account's, in bytes.
	maxToken = 16 << 10
)

// How many tokens that nobody has vouched for the API server is asked about in a
// second: those of one caller, and all.
const (
	strangersEach  = 2
	strangersTotal = 40
	strangersBurst = 10
)

// ErrTooMany is that a caller has shown too many tokens that were not known.
var ErrTooMany = errors.New("too many unknown tokens at once")

// Only says whose tokens count; others are refused without a review. What is empty
// counts as any.
type Only struct {
	// Audience is whom the token is meant for; if it is empty, the API server.
	Audience string
	// User is the name of the service account's user.
	User string
}

// Tokens knows the users of tokens.
type Tokens struct {
	client authenticationclient.TokenReviewInterface
	only   Only
	now    func() time.Time
	// good and bad are answers by a token's digest. A flood of bad ones
	// displaces no good one.
	good, bad *cache.LRUExpireCache
	strangers *callers
	total     *rate.Limiter
}

var _ authenticator.Token = (*Tokens)(nil)

// NewTokens returns what knows the users of some tokens.
func NewTokens(config *rest.Config, only Only) (*Tokens, error) {
	client, err := authenticationclient.NewForConfig(unlimited(config))
	if err != nil {
		return nil, fmt.Errorf("set up token reviews: %w", err)
	}
	return newTokens(client.TokenReviews(), only, time.Now), nil
}

func newTokens(client authenticationclient.TokenReviewInterface, only Only, now func() time.Time) *Tokens {
	return &Tokens{
		client: client, only: only, now: now,
		good: cache.NewLRUExpireCache(maxKept), bad: cache.NewLRUExpireCache(maxKept),
		strangers: newCallers(strangersEach, strangersBurst), total: rate.NewLimiter(strangersTotal, 2*strangersTotal),
	}
}

// answer is what the API server has said of a good token.
type answer struct {
	user  user.Info
	until time.Time
}

// AuthenticateToken implements authenticator.Token. All who ask this way are one
// caller.
func (t *Tokens) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	by, err := t.User(ctx, "", token)
	if err != nil || by == nil {
		return nil, false, err
	}
	return &authenticator.Response{User: by}, true, nil
}

// User returns the user of a token that a caller has shown, nil if it is nobody's,
// or not meant for us. ErrTooMany if the caller has shown many that are unknown.
func (t *Tokens) User(ctx context.Context, caller, token string) (user.Info, error) {
	if len(token) > maxToken || !t.only.admits(token, t.now()) {
		return nil, nil //nolint:nilnil // as documented
	}
	key := digest([]byte(token))
	kept, known := t.good.Get(key)
	if was, ok := kept.(answer); ok && t.now().Before(was.until) {
		return was.user, nil
	}
	if _, ok := t.bad.Get(key); ok {
		return nil, nil //nolint:nilnil // as documented
	}
	// Who has been good is not kept waiting by those who have not.
	if !known && (!t.strangers.of(caller).Allow() || !t.total.Allow()) {
		return nil, ErrTooMany
	}
	by, err := t.review(ctx, token)
	switch {
	case err != nil:
		return nil, err
	case by == nil:
		t.good.Remove(key)
		t.bad.Add(key, true, tokenTTL)
		return nil, nil //nolint:nilnil // as documented
	}
	t.good.Add(key, answer{by, t.now().Add(tokenTTL)}, rememberTTL)
	return by, nil
}

// review asks the API server. A token for others, or of others, is nobody's.
func (t *Tokens) review(ctx context.Context, token string) (user.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if t.only.Audience != "" {
		review.Spec.Audiences = []string{t.only.Audience}
	}
	review, err := t.client.Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("review token: %w", err)
	}
	// A server that knows of no audiences confirms none.
	confirmed := t.only.Audience == "" || len(authenticator.Audiences{t.only.Audience}.Intersect(review.Status.Audiences)) > 0
	is := review.Status.User
	if !review.Status.Authenticated || !confirmed || t.only.User != "" && is.Username != t.only.User {
		return nil, nil //nolint:nilnil // as documented
	}
	return &user.DefaultInfo{Name: is.Username, UID: is.UID, Groups: is.Groups, Extra: convert[[]string](is.Extra)}, nil
}
