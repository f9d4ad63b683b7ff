package connect

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	authenticationclient "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
)

// The API server's answers, in the terms of k8s.io/apiserver. That has clients of
// its own for them, with gRPC and CEL in tow: more than the rest of an agent.

// reviewLimit is how long an answer may take.
const reviewLimit = 10 * time.Second

// tokenReviews asks whose a token is that was made for an audience.
type tokenReviews struct {
	client   authenticationclient.TokenReviewInterface
	audience string
}

// AuthenticateToken implements authenticator.Token. A token for others, as one
// for the API server, is nobody's.
func (r *tokenReviews) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, reviewLimit)
	defer cancel()
	review, err := r.client.Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: []string{r.audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, false, fmt.Errorf("review token: %w", err)
	}
	// A server that knows of no audiences confirms none.
	if !review.Status.Authenticated || len(authenticator.Audiences{r.audience}.Intersect(review.Status.Audiences)) == 0 {
		return nil, false, nil
	}
	is := review.Status.User
	return &authenticator.Response{
		User: &user.DefaultInfo{Name: is.Username, UID: is.UID, Groups: is.Groups, Extra: convert[[]string](is.Extra)},
	}, true, nil
}

// accessReviews asks what a user may.
type accessReviews struct {
	client authorizationclient.SubjectAccessReviewInterface
}

// allows tells whether a user may do something.
func (r *accessReviews) allows(ctx context.Context, by user.Info, what authorizationv1.ResourceAttributes) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, reviewLimit)
	defer cancel()
	review, err := r.client.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: by.GetName(), UID: by.GetUID(), Groups: by.GetGroups(), Extra: convert[authorizationv1.ExtraValue](by.GetExtra()),
		ResourceAttributes: &what,
	}}, metav1.CreateOptions{})
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
