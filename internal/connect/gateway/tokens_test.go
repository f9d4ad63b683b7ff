package gateway

import (
	"fmt"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	core "k8s.io/client-go/testing"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// TestTokens: one for each node, which is used until little of its life is left.
func TestTokens(t *testing.T) {
	clients := fake.NewClientset()
	made, life := 0, tokenLife
	clients.PrependReactor("create", "serviceaccounts", func(a core.Action) (bool, runtime.Object, error) {
		request := a.(core.CreateAction).GetObject().(*authenticationv1.TokenRequest)
		made++
		request.Status = authenticationv1.TokenRequestStatus{
			Token: fmt.Sprint(request.Spec.Audiences[0], " ", made), ExpirationTimestamp: metav1.NewTime(time.Now().Add(life)),
		}
		return true, request, nil
	})
	tokens := newTokens(clients.CoreV1().ServiceAccounts(api.SystemNamespace))
	want := func(node, token string) {
		t.Helper()
		if got, err := tokens.token(t.Context(), node); err != nil || got != token {
			t.Errorf("the token for %s is %q, %v; want %q", node, got, err, token)
		}
	}
	want("a", "stormcell.dev/node/a 1")
	want("a", "stormcell.dev/node/a 1")
	life = tokenRest - time.Second
	want("b", "stormcell.dev/node/b 2")
	want("b", "stormcell.dev/node/b 3") // what was made has too little left already
	want("a", "stormcell.dev/node/a 1")
}
