package daemon

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"

	"github.com/stormcell/stormcell/internal/kube/review"
	"github.com/stormcell/stormcell/internal/listen"
)

// metricsGuard lets in who may get /metrics, by the word of the API server. It
// does what controller-runtime's filter does, without that one's clients, which
// would make a node-agent half as large again.
type metricsGuard struct {
	tokens *review.Tokens
	access *review.Access
}

func newMetricsGuard(conf *rest.Config) (*metricsGuard, error) {
	tokens, err := review.NewTokens(conf, review.Only{})
	if err != nil {
		return nil, err
	}
	access, err := review.NewAccess(conf)
	if err != nil {
		return nil, err
	}
	return &metricsGuard{tokens, access}, nil
}

func (g *metricsGuard) before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if status, why := g.review(req); status != http.StatusOK {
			w.Header().Set("Connection", "close") // no stranger asks again without another handshake
			http.Error(w, why, status)
			return
		}
		listen.Known(req.Context())
		next.ServeHTTP(w, req)
	})
}

// review tells whether who asks may get /metrics; if not, why.
func (g *metricsGuard) review(req *http.Request) (status int, why string) {
	token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return http.StatusUnauthorized, "give the token of a service account"
	}
	by, err := g.tokens.User(req.Context(), listen.Address(req.RemoteAddr), token)
	switch {
	case errors.Is(err, review.ErrTooMany):
		return http.StatusTooManyRequests, "your address shows too many tokens that the API server does not know; try again later"
	case err != nil:
		return http.StatusServiceUnavailable, "the API server does not answer whose token it is"
	case by == nil:
		return http.StatusUnauthorized, "the API server does not know the token"
	}
	may, err := g.access.ToPath(req.Context(), by, authorizationv1.NonResourceAttributes{Path: metricsPath, Verb: "get"})
	switch {
	case err != nil:
		return http.StatusServiceUnavailable, "the API server does not answer whether you have the right"
	case !may:
		return http.StatusForbidden, fmt.Sprintf("%s may not get %s; bind it to ClusterRole stormcell-metrics-reader", by.GetName(), metricsPath)
	}
	return http.StatusOK, ""
}
