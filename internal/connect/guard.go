package connect

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/user"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"

	connectv1 "github.com/stormcell/stormcell/api/connect/v1alpha1"
)

// tokenTTL is for how long the API server's answer on a token is good.
const tokenTTL = 30 * time.Second

// Guard tells who asks, and whether they may, which it asks the API server.
type Guard struct {
	authenticator authenticator.Request
	access        *accessReviews
}

// NewGuard lets those in whom an authenticator knows, and who have the right.
func NewGuard(config *rest.Config, by authenticator.Request) (*Guard, error) {
	reviews, err := authorizationclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("set up access reviews: %w", err)
	}
	return &Guard{authenticator: by, access: &accessReviews{client: reviews.SubjectAccessReviews()}}, nil
}

// Tokens knows those who have a token that was made for an audience.
func Tokens(config *rest.Config, audience string) (authenticator.Request, error) {
	reviews, err := authenticationclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("set up token reviews: %w", err)
	}
	tokens := &tokenReviews{client: reviews.TokenReviews(), audience: audience}
	return bearertoken.New(cache.New(tokens, false, tokenTTL, tokenTTL)), nil
}

// identify tells who asks.
func (g *Guard) identify(req *http.Request) (user.Info, error) {
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
	what := authorizationv1.ResourceAttributes{
		Group: connectv1.GroupVersion.Group, Version: connectv1.GroupVersion.Version,
		Verb: r.verb, Resource: r.resource, Subresource: r.subresource,
		Namespace: req.PathValue("namespace"), Name: req.PathValue("name"),
	}
	allowed, err := g.access.allows(req.Context(), by, what)
	if err != nil {
		return apierrors.NewServiceUnavailable("the API server does not tell whether you may: " + err.Error())
	}
	if allowed {
		return nil
	}
	resource := connectv1.GroupVersion.WithResource(strings.TrimSuffix(r.resource+"/"+r.subresource, "/")).GroupResource()
	return apierrors.NewForbidden(resource, what.Name, fmt.Errorf("user %q may not %s it in namespace %q", by.GetName(), r.verb, what.Namespace))
}
