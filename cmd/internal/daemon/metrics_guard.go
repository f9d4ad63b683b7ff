package daemon

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/go-logr/logr"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/stormcell/stormcell/internal/kube/review"
)

const metricsPath = "/metrics"

// metricsGuard lets in who may get /metrics, by the word of the API server. It
// does what controller-runtime's filter does, without that one's clients, which
// would make a node-agent half as large again.
type metricsGuard struct {
	tokens authenticator.Token
	access *review.Access
}

// guardMetrics implements the metrics server's FilterProvider.
func guardMetrics(conf *rest.Config, _ *http.Client) (server.Filter, error) {
	tokens, err := review.Tokens(conf, "")
	if err != nil {
		return nil, err
	}
	access, err := review.NewAccess(conf)
	if err != nil {
		return nil, err
	}
	g := &metricsGuard{tokens, access}
	return func(_ logr.Logger, next http.Handler) (http.Handler, error) { return g.before(next), nil }, nil
}

func (g *metricsGuard) before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if status, why := g.review(req); status != http.StatusOK {
			http.Error(w, why, status)
			return
		}
		next.ServeHTTP(w, req)
	})
}

// review tells whether who asks may get /metrics; if not, why.
func (g *metricsGuard) review(req *http.Request) (status int, why string) {
	token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return http.StatusUnauthorized, "give the token of a service account"
	}
	who, known, err := g.tokens.AuthenticateToken(req.Context(), token)
	switch {
	case err != nil:
		return http.StatusServiceUnavailable, "the API server does not answer whose token it is"
	case !known:
		return http.StatusUnauthorized, "the API server does not know the token"
	}
	may, err := g.access.ToPath(req.Context(), who.User, authorizationv1.NonResourceAttributes{Path: metricsPath, Verb: "get"})
	switch {
	case err != nil:
		return http.StatusServiceUnavailable, "the API server does not answer whether you have the right"
	case !may:
		return http.StatusForbidden, fmt.Sprintf("%s may not get %s; bind it to ClusterRole stormcell-metrics-reader", who.User.GetName(), metricsPath)
	}
	return http.StatusOK, ""
}
