// Package review asks the API server which user a token belongs to, and which rights
// a user has.
package review

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/user"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
)

// The answers are in the terms of k8s.io/apiserver. That has clients of its own
// for them, with gRPC and CEL in tow: more than the rest of an agent.

const (
	// limit is how long an answer may take.
	limit = 10 * time.Second
	// tokenTTL is for how long the answer on a token is good.
	tokenTTL = 30 * time.Second
	// maxToken is far beyond a service account's, in bytes.
	maxToken = 16 << 10
	// perSecond bounds what strangers can make a daemon ask. Its own requests are
	// counted apart.
	perSecond = 20
)

// throttled is a configuration for reviews alone.
func throttled(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = perSecond, 2*perSecond
	return config
}

// Tokens knows tokens that were made for an audience; for the API server itself,
// if that is "".
func Tokens(config *rest.Config, audience string) (authenticator.Token, error) {
	client, err := authenticationclient.NewForConfig(throttled(config))
	if err != nil {
		return nil, fmt.Errorf("set up token reviews: %w", err)
	}
	return cache.New(&tokens{client.TokenReviews(), audience}, false, tokenTTL, tokenTTL), nil
}

type tokens struct {
	client   authenticationclient.TokenReviewInterface
	audience string
}

// AuthenticateToken implements authenticator.Token. A token for others is nobody's.
func (t *tokens) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	if len(token) > maxToken {
		return nil, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if t.audience != "" {
		review.Spec.Audiences = []string{t.audience}
	}
	review, err := t.client.Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return nil, false, fmt.Errorf("review token: %w", err)
	}
	// A server that knows of no audiences confirms none.
	confirmed := t.audience == "" || len(authenticator.Audiences{t.audience}.Intersect(review.Status.Audiences)) > 0
	if !review.Status.Authenticated || !confirmed {
		return nil, false, nil
	}
	is := review.Status.User
	return &authenticator.Response{
		User: &user.DefaultInfo{Name: is.Username, UID: is.UID, Groups: is.Groups, Extra: convert[[]string](is.Extra)},
	}, true, nil
}

// Access reviews the rights of users.
type Access struct {
	Client authorizationclient.SubjectAccessReviewInterface
}

// NewAccess returns an Access that asks by a configuration.
func NewAccess(config *rest.Config) (*Access, error) {
	client, err := authorizationclient.NewForConfig(throttled(config))
	if err != nil {
		return nil, fmt.Errorf("set up access reviews: %w", err)
	}
	return &Access{client.SubjectAccessReviews()}, nil
}

// ToResource reports whether a user has a right on a resource.
func (a *Access) ToResource(ctx context.Context, by user.Info, what authorizationv1.ResourceAttributes) (bool, error) {
	return a.to(ctx, by, authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: &what})
}

// ToPath reports whether a user has a right on a non-resource path.
func (a *Access) ToPath(ctx context.Context, by user.Info, what authorizationv1.NonResourceAttributes) (bool, error) {
	return a.to(ctx, by, authorizationv1.SubjectAccessReviewSpec{NonResourceAttributes: &what})
}

func (a *Access) to(ctx context.Context, by user.Info, spec authorizationv1.SubjectAccessReviewSpec) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	spec.User, spec.UID, spec.Groups = by.GetName(), by.GetUID(), by.GetGroups()
	spec.Extra = convert[authorizationv1.ExtraValue](by.GetExtra())
	review, err := a.Client.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("review access: %w", err)
	}
	return review.Status.Allowed && !review.Status.Denied, nil
}

// convert makes what is known of a user beside its name of another's type.
func convert[To, From ~[]string](extra map[string]From) map[string]To {
	converted := make(map[string]To, len(extra))
	for key, values := range extra {
		converted[key] = To(values)
	}
	return converted
}
