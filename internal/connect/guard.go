package connect

import (
	"fmt"
	"net/http"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"

	connectv1 "github.com/stormcell/stormcell/api/connect/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/review"
)

// Guard authenticates callers, and asks the API server whether they have the right.
type Guard struct {
	authenticator authenticator.Request
	access        *review.Access
}

// NewGuard returns a guard that accepts callers that an authenticator knows and that
// have the right.
func NewGuard(config *rest.Config, by authenticator.Request) (*Guard, error) {
	access, err := review.NewAccess(config)
	if err != nil {
		return nil, err
	}
	return &Guard{authenticator: by, access: access}, nil
}

// identify tells who asks.
func (g *Guard) identify(req *http.Request) (user.Info, error) {
	response, ok, err := g.authenticator.AuthenticateRequest(req)
	if err != nil || !ok {
		return nil, apierrors.NewUnauthorized("Unauthorized") // why, is nobody's business
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
	allowed, err := g.access.ToResource(req.Context(), by, what)
	if err != nil {
		return apierrors.NewServiceUnavailable("the API server does not answer whether you have the right: " + err.Error())
	}
	if allowed {
		return nil
	}
	resource := connectv1.GroupVersion.WithResource(strings.TrimSuffix(r.resource+"/"+r.subresource, "/")).GroupResource()
	return apierrors.NewForbidden(resource, what.Name, fmt.Errorf("user %q may not %s it in namespace %q", by.GetName(), r.verb, what.Namespace))
}
