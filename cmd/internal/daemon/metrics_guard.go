package daemon

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const (
	metricsPath = "/metrics"
	// reviewLimit is how long the API server may take to say who asks and
	// whether they may.
	reviewLimit = 10 * time.Second
	// readerTTL is for how long its yes is good, and maxReaders for how many
	// tokens: a Prometheus comes back, each time with the same one.
	readerTTL  = time.Minute
	maxReaders = 16
	// maxToken is far beyond a service account's, in bytes.
	maxToken = 16 << 10
	// reviewsPerSecond bound what strangers can make a daemon ask. Its own
	// requests are counted apart.
	reviewsPerSecond = 5
)

// metricsGuard lets in who may get /metrics, by the word of the API server. It
// does what controller-runtime's filter does, without that one's clients, which
// would make a node-agent half as large again.
type metricsGuard struct {
	tokens authenticationclient.TokenReviewInterface
	access authorizationclient.SubjectAccessReviewInterface
	// readers are those who may, by the hash of their token.
	readers *cache.LRUExpireCache
}

// guardMetrics implements the metrics server's FilterProvider.
func guardMetrics(conf *rest.Config, _ *http.Client) (server.Filter, error) {
	conf = rest.CopyConfig(conf)
	conf.QPS, conf.Burst = reviewsPerSecond, 2*reviewsPerSecond
	tokens, err := authenticationclient.NewForConfig(conf)
	if err != nil {
		return nil, fmt.Errorf("set up token reviews: %w", err)
	}
	access, err := authorizationclient.NewForConfig(conf)
	if err != nil {
		return nil, fmt.Errorf("set up access reviews: %w", err)
	}
	g := &metricsGuard{tokens: tokens.TokenReviews(), access: access.SubjectAccessReviews(), readers: cache.NewLRUExpireCache(maxReaders)}
	return func(_ logr.Logger, next http.Handler) (http.Handler, error) { return g.before(next), nil }, nil
}

func (g *metricsGuard) before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
		if !ok || len(token) > maxToken {
			http.Error(w, "give the token of a service account", http.StatusUnauthorized)
			return
		}
		key := sha256.Sum256([]byte(token))
		if _, known := g.readers.Get(key); !known {
			if status, why := g.review(req.Context(), token); status != http.StatusOK {
				http.Error(w, why, status)
				return
			}
			g.readers.Add(key, nil, readerTTL)
		}
		next.ServeHTTP(w, req)
	})
}

// review asks the API server whose a token is, and whether they may get /metrics.
func (g *metricsGuard) review(ctx context.Context, token string) (status int, why string) {
	ctx, cancel := context.WithTimeout(ctx, reviewLimit)
	defer cancel()
	who, err := g.tokens.Create(ctx,
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	switch {
	case err != nil:
		return http.StatusServiceUnavailable, "the API server does not say whose token it is"
	case !who.Status.Authenticated:
		return http.StatusUnauthorized, "the API server does not know the token"
	}
	user := who.Status.User
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range user.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	may, err := g.access.Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: metricsPath, Verb: "get"},
		},
	}, metav1.CreateOptions{})
	switch {
	case err != nil:
		return http.StatusServiceUnavailable, "the API server does not say whether you may"
	case !may.Status.Allowed || may.Status.Denied:
		return http.StatusForbidden, fmt.Sprintf("%s may not get %s; bind it to ClusterRole stormcell-metrics-reader", user.Username, metricsPath)
	}
	return http.StatusOK, ""
}
