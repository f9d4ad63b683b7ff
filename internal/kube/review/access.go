package review

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apiserver/pkg/authentication/user"
	authorizationclient "k8s.io/client-go/kubernetes/typed/authorization/v1"
	"k8s.io/client-go/rest"
)

const (
	// usersEach is how many rights of one user the API server is asked about in
	// a second; what is beyond that waits.
	usersEach  = 50
	usersBurst = 100
	// allowedTTL is for how long a right that a user has is not asked about
	// again. One that the user has not may have been given at any moment.
	allowedTTL = 10 * time.Second
)

// Access reviews the rights of users.
type Access struct {
	client  authorizationclient.SubjectAccessReviewInterface
	allowed *cache.LRUExpireCache
	users   *callers
}

// NewAccess returns an Access that asks by a configuration.
func NewAccess(config *rest.Config) (*Access, error) {
	client, err := authorizationclient.NewForConfig(unlimited(config))
	if err != nil {
		return nil, fmt.Errorf("set up access reviews: %w", err)
	}
	return NewAccessBy(client.SubjectAccessReviews()), nil
}

// NewAccessBy returns an Access that asks by a client.
func NewAccessBy(client authorizationclient.SubjectAccessReviewInterface) *Access {
	return &Access{client: client, allowed: cache.NewLRUExpireCache(maxKept), users: newCallers(usersEach, usersBurst)}
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
	document, err := json.Marshal(spec)
	if err != nil {
		return false, fmt.Errorf("review access: %w", err)
	}
	key := digest(document)
	if _, ok := a.allowed.Get(key); ok {
		return true, nil
	}
	if err := a.users.of(spec.User).Wait(ctx); err != nil {
		return false, fmt.Errorf("review access: %s asks too often: %w", spec.User, err)
	}
	review, err := a.client.Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("review access: %w", err)
	}
	if !review.Status.Allowed || review.Status.Denied {
		return false, nil
	}
	a.allowed.Add(key, true, allowedTTL)
	return true, nil
}

// convert makes what is known of a user beside its name of another's type.
func convert[To, From ~[]string](extra map[string]From) map[string]To {
	converted := make(map[string]To, len(extra))
	for key, values := range extra {
		converted[key] = To(values)
	}
	return converted
}
