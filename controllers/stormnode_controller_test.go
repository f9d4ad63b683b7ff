package controllers

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/kube/managers"
)

// TestManagersOfAStormNode: it says by which certificates the agent knows the managers
// as soon as these have one, and at once when they change.
func TestManagersOfAStormNode(t *testing.T) {
	w := newWorld(t)
	w.create(newNode("n1"))
	w.create(newLease("n1"))
	w.run(minute)
	says := func(want []byte) {
		w.Helper()
		w.eventually(func() error {
			n := new(api.StormNode)
			if err := w.c.Get(w.ctx, client.ObjectKey{Name: "n1"}, n); err != nil {
				return err
			}
			var said []byte
			if n.Spec.Managers != nil {
				said = n.Spec.Managers.CABundle
			}
			if !bytes.Equal(said, want) {
				return fmt.Errorf("it says %q, want %q", said, want)
			}
			return nil
		})
	}
	says(nil)
	first, second := certificatePEM(t), certificatePEM(t)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: managers.Secret.Namespace, Name: managers.Secret.Name},
		Data:       map[string][]byte{managers.BundleKey: append([]byte("not PEM\n"), first...)},
	}
	w.create(secret)
	defer func() { w.must(w.c.Delete(w.ctx, secret)) }()
	says(first)
	secret.Data[managers.BundleKey] = slices.Concat(second, first)
	w.must(w.c.Update(w.ctx, secret))
	says(slices.Concat(second, first))
	secret.Data[managers.BundleKey] = []byte("nonsense")
	w.must(w.c.Update(w.ctx, secret))
	says(nil)
}

// certificatePEM is a certificate for nothing.
func certificatePEM(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}
