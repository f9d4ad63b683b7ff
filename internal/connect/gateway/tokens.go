package gateway

import (
	"context"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/connect"
)

// The API server makes no token for less than ten minutes. One is used until
// so little of that is left.
const (
	tokenLife = 10 * time.Minute
	tokenRest = 2 * time.Minute
)

// tokens are those by which agents know the manager, one for each node. None of
// them is good anywhere else.
type tokens struct {
	accounts corev1client.ServiceAccountInterface

	mu     sync.Mutex
	byNode map[string]authenticationv1.TokenRequestStatus
}

func newTokens(accounts corev1client.ServiceAccountInterface) *tokens {
	return &tokens{accounts: accounts, byNode: map[string]authenticationv1.TokenRequestStatus{}}
}

// token returns a token for the agent of a node.
func (t *tokens) token(ctx context.Context, node string) (string, error) {
	t.mu.Lock()
	is := t.byNode[node]
	t.mu.Unlock()
	if time.Until(is.ExpirationTimestamp.Time) > tokenRest {
		return is.Token, nil
	}
	made, err := t.accounts.CreateToken(ctx, api.ManagerFieldOwner, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{
			Audiences: []string{connect.Audience(node)}, ExpirationSeconds: new(int64(tokenLife / time.Second)),
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("make a token for the agent of node %s: %w", node, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byNode[node] = made.Status
	return made.Status.Token, nil
}
