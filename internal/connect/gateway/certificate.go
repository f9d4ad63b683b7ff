package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	connectv1 "github.com/stormcell/stormcell/api/connect/v1alpha1"
	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/connect"
	"github.com/stormcell/stormcell/internal/kube/managers"
)

// The objects that lead the API server to the managers, as config/connect has
// them, and the Secret that the managers share. serverName is how the API server
// calls the managers' Service.
const (
	serverName = api.ManagerFieldOwner + "." + api.SystemNamespace + ".svc"
	bundleKey  = managers.BundleKey
)

var (
	apiServiceName = connectv1.GroupVersion.Version + "." + connectv1.GroupVersion.Group
	secretKey      = managers.Secret
)

// A certificate lives for a year, and is replaced when a third of that is left.
const (
	certificateLife = 365 * 24 * time.Hour
	certificateRest = certificateLife / 3
)

// certificate sees to it that all managers serve with one certificate, by which the
// agents know them, too, and that the API server knows it. Whichever comes first makes it, and renews it.
type certificate struct {
	client  client.Client
	reader  client.Reader // not the cache, which may be behind
	current atomic.Pointer[tls.Certificate]
	// before is what current was before, with which agents know this manager that
	// have not been told of the new one.
	before atomic.Pointer[tls.Certificate]
}

func apiService() *unstructured.Unstructured {
	u := new(unstructured.Unstructured)
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiregistration.k8s.io", Version: "v1", Kind: "APIService"})
	u.SetName(apiServiceName)
	return u
}

func (c *certificate) setup(mgr ctrl.Manager) error {
	leads := false
	toService := func(context.Context, client.Object) []ctrl.Request {
		return []ctrl.Request{{NamespacedName: types.NamespacedName{Name: apiServiceName}}}
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("connect").
		For(apiService(), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(toService)).
		WithOptions(controller.Options{NeedLeaderElection: &leads}).
		Complete(c)
}

// Reconcile has the API server trust the managers' certificate, and only then
// serves with it. Without an APIService nobody asks.
func (c *certificate) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	service := apiService()
	if err := c.reader.Get(ctx, client.ObjectKeyFromObject(service), service); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	secret, err := c.secret(ctx)
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return ctrl.Result{RequeueAfter: time.Second}, nil // another manager was first
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := c.trust(ctx, service, secret.Data[bundleKey]); err != nil {
		return ctrl.Result{}, err
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("certificate in Secret %s (delete the Secret, and the manager creates it again): %w", secretKey, err)
	}
	if was := c.current.Load(); was != nil && !was.Leaf.Equal(pair.Leaf) {
		c.before.Store(was)
	}
	c.current.Store(&pair)
	return ctrl.Result{RequeueAfter: time.Until(pair.Leaf.NotAfter) - certificateRest}, nil
}

// secret returns the Secret with a certificate that is good for long enough.
func (c *certificate) secret(ctx context.Context) (*corev1.Secret, error) {
	secret := new(corev1.Secret)
	err := c.reader.Get(ctx, secretKey, secret)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("get Secret %s: %w", secretKey, err)
	}
	absent := err != nil
	now := time.Now()
	if fresh(secret.Data, now) {
		return secret, nil
	}
	if secret.Data, err = renewed(secret.Data, now); err != nil {
		return nil, err
	}
	if absent {
		secret.ObjectMeta = metav1.ObjectMeta{Namespace: secretKey.Namespace, Name: secretKey.Name}
		secret.Type = corev1.SecretTypeTLS
		err = c.client.Create(ctx, secret)
	} else {
		err = c.client.Update(ctx, secret)
	}
	if err != nil {
		return nil, fmt.Errorf("write Secret %s: %w", secretKey, err)
	}
	return secret, nil
}

// fresh tells whether data has a certificate for serverName, and for a client of the
// agents, that need not be replaced yet, and that those who look into the bundle trust.
func fresh(data map[string][]byte, now time.Time) bool {
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	return err == nil && pair.Leaf.NotAfter.Sub(now) > certificateRest && pair.Leaf.VerifyHostname(serverName) == nil &&
		slices.Contains(pair.Leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) && // an earlier manager's has not
		bytes.Contains(data[bundleKey], data[corev1.TLSCertKey])
}

// renewed makes a new certificate. The bundle keeps the one before, with which
// other managers serve until they have seen the new one.
func renewed(before map[string][]byte, now time.Time) (map[string][]byte, error) {
	made, key, err := connect.SelfSigned(serverName, now.Add(certificateLife))
	if err != nil {
		return nil, err
	}
	bundle := made
	if old, err := parseCertificate(before[corev1.TLSCertKey]); err == nil && old.NotAfter.After(now) {
		bundle = append(bytes.Clone(made), before[corev1.TLSCertKey]...)
	}
	return map[string][]byte{corev1.TLSCertKey: made, corev1.TLSPrivateKeyKey: key, bundleKey: bundle}, nil
}

var errNoCertificate = errors.New("no certificate in PEM")

func parseCertificate(content []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, errNoCertificate
	}
	return x509.ParseCertificate(block.Bytes)
}

// trust writes the bundle into the APIService, unless it is there.
func (c *certificate) trust(ctx context.Context, service *unstructured.Unstructured, bundle []byte) error {
	encoded := base64.StdEncoding.EncodeToString(bundle)
	if is, _, _ := unstructured.NestedString(service.Object, "spec", "caBundle"); is == encoded {
		return nil
	}
	ours := apiService()
	ours.Object["spec"] = map[string]any{"caBundle": encoded}
	if err := c.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(ours), client.FieldOwner(api.ManagerFieldOwner), client.ForceOwnership); err != nil {
		return fmt.Errorf("write caBundle of APIService %s: %w", apiServiceName, err)
	}
	return nil
}

var errNotYet = errors.New("the manager has no certificate yet")

// serve is for tls.Config.
func (c *certificate) serve(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if is := c.current.Load(); is != nil {
		return is, nil
	}
	return nil, errNotYet
}

// present returns by which certificate an agent knows this manager that trusts a
// bundle; nil if the manager has none yet.
func (c *certificate) present(bundle []byte) *tls.Certificate {
	current, before := c.current.Load(), c.before.Load()
	if current == nil || before == nil {
		return current
	}
	knows := func(of *tls.Certificate) bool {
		return slices.ContainsFunc(managers.Certificates(bundle), of.Leaf.Equal)
	}
	if !knows(current) && knows(before) {
		return before
	}
	return current
}
