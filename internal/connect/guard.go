package connect

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	authenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationv1 "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"

	connectv1 "github.com/stormcell/stormcell/api/connect/v1alpha1"
)

// For how long an answer of the API server is good, and how long it may take.
const (
	allowTTL    = 30 * time.Second
	denyTTL     = 5 * time.Second
	tokenTTL    = 30 * time.Second
	reviewLimit = 10 * time.Second
)

// reviewBackoff tries a review again that the API server could not answer.
var reviewBackoff = wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 3}

// Guard tells who asks, and whether they may. It asks the API server for both.
type Guard struct {
	authenticator authenticator.Request
	authorizer    authorizer.Authorizer
	audiences     authenticator.Audiences
}

// NewTokenGuard lets those in who have a token for an audience, and the right.
func NewTokenGuard(config *rest.Config, audience string) (*Guard, error) {
	reviews, err := authenticationv1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("set up token reviews: %w", err)
	}
	g, err := newGuard(config, authenticatorfactory.DelegatingAuthenticatorConfig{
		TokenAccessReviewClient: reviews, TokenAccessReviewTimeout: reviewLimit,
		WebhookRetryBackoff: &reviewBackoff, CacheTTL: tokenTTL,
	})
	if err != nil {
		return nil, err
	}
	// Without an audience in the request, a token for the API server would do.
	g.audiences = authenticator.Audiences{audience}
	return g, nil
}

// NewProxyGuard lets those in whom the API server forwards, and who have the right.
func NewProxyGuard(config *rest.Config, proxy *authenticatorfactory.RequestHeaderConfig) (*Guard, error) {
	return newGuard(config, authenticatorfactory.DelegatingAuthenticatorConfig{RequestHeaderConfig: proxy})
}

func newGuard(config *rest.Config, authentication authenticatorfactory.DelegatingAuthenticatorConfig) (*Guard, error) {
	reviews, err := authorizationv1.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("set up access reviews: %w", err)
	}
	g := new(Guard)
	if g.authenticator, _, err = authentication.New(); err != nil {
		return nil, fmt.Errorf("set up authentication: %w", err)
	}
	g.authorizer, err = authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: reviews, AllowCacheTTL: allowTTL, DenyCacheTTL: denyTTL, WebhookRetryBackoff: &reviewBackoff,
	}.New()
	if err != nil {
		return nil, fmt.Errorf("set up authorization: %w", err)
	}
	return g, nil
}

// identify tells who asks.
func (g *Guard) identify(req *http.Request) (user.Info, error) {
	if len(g.audiences) > 0 {
		req = req.WithContext(authenticator.WithAudiences(req.Context(), g.audiences))
	}
	response, ok, err := g.authenticator.AuthenticateRequest(req)
	if err != nil || !ok {
		return nil, apierrors.NewUnauthorized("Unauthorized") //nolint:nilerr // why, is nobody's business
	}
	return response.User, nil
}

// right is what one must have for a request.
type right struct{ verb, resource, subresource string }

// allow tells whether a user has a right.
func (g *Guard) allow(req *http.Request, by user.Info, r right) error {
	namespace, name := req.PathValue("namespace"), req.PathValue("name")
	decision, _, err := g.authorizer.Authorize(req.Context(), authorizer.AttributesRecord{
		User: by, Verb: r.verb, ResourceRequest: true, Path: req.URL.Path,
		APIGroup: connectv1.GroupVersion.Group, APIVersion: connectv1.GroupVersion.Version,
		Resource: r.resource, Subresource: r.subresource, Namespace: namespace, Name: name,
	})
	if err != nil {
		return apierrors.NewServiceUnavailable("the API server does not tell whether you may: " + err.Error())
	}
	if decision == authorizer.DecisionAllow {
		return nil
	}
	resource := connectv1.GroupVersion.WithResource(r.resource).GroupResource()
	if r.subresource != "" {
		resource.Resource += "/" + r.subresource
	}
	return apierrors.NewForbidden(resource, name, errors.New(
		fmt.Sprintf("user %q may not %s it in namespace %q", by.GetName(), r.verb, namespace)))
}
