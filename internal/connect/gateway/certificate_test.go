package gateway

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/stormcell/stormcell/internal/connect"
)

// TestRenewal: a certificate is replaced when a third of its life is left, and
// trusted as long as it lives.
func TestRenewal(t *testing.T) {
	now := time.Now()
	first, err := renewed(nil, now)
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[time.Duration]bool{0: true, certificateLife - certificateRest - time.Minute: true, certificateLife - certificateRest + time.Minute: false, 2 * certificateLife: false} {
		if got := fresh(first, now.Add(at)); got != want {
			t.Errorf("fresh after %s: %v", at, got)
		}
	}
	second, err := renewed(first, now.Add(certificateLife-certificateRest+time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for _, trusted := range []map[string][]byte{first, second} {
		if !bytes.Contains(second[bundleKey], trusted[corev1.TLSCertKey]) {
			t.Error("the bundle lacks a certificate that managers serve with")
		}
	}
	third, err := renewed(second, now.Add(3*certificateLife))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(third[bundleKey], third[corev1.TLSCertKey]) {
		t.Error("one that has expired is still trusted")
	}
	for name, broken := range map[string]map[string][]byte{
		"nothing":          nil,
		"not trusted":      {corev1.TLSCertKey: first[corev1.TLSCertKey], corev1.TLSPrivateKeyKey: first[corev1.TLSPrivateKeyKey]},
		"the key of other": {corev1.TLSCertKey: first[corev1.TLSCertKey], corev1.TLSPrivateKeyKey: second[corev1.TLSPrivateKeyKey], bundleKey: first[bundleKey]},
	} {
		if fresh(broken, now) {
			t.Errorf("%s is fresh", name)
		}
	}
}

// TestCertificateOfAnEarlierManager: it is good for a server alone, so it is replaced
// by itself, and trusted until those who have it have the new one.
func TestCertificateOfAnEarlierManager(t *testing.T) {
	now := time.Now()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{serverName}, NotBefore: now, NotAfter: now.Add(certificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	made := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
	earlier := map[string][]byte{
		corev1.TLSCertKey: made, corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), bundleKey: made,
	}
	if fresh(earlier, now) {
		t.Error("it is fresh, although no agent accepts it")
	}
	next, err := renewed(earlier, now)
	if err != nil || !fresh(next, now) || !bytes.Contains(next[bundleKey], made) {
		t.Errorf("what replaces it is fresh: %v, and trusts it: %v; %v", fresh(next, now), bytes.Contains(next[bundleKey], made), err)
	}
}

// TestPresent: while agents are told of a new certificate, each is shown one that it
// knows.
func TestPresent(t *testing.T) {
	pair := func() (*tls.Certificate, []byte) {
		certificate, key, err := connect.SelfSigned(serverName, time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		made, err := tls.X509KeyPair(certificate, key)
		if err != nil {
			t.Fatal(err)
		}
		return &made, certificate
	}
	first, firstPEM := pair()
	second, secondPEM := pair()
	c := new(certificate)
	if got := c.present(firstPEM); got != nil {
		t.Error("a certificate out of nothing")
	}
	c.current.Store(first)
	if got := c.present(nil); got != first {
		t.Error("the only one is not shown to an agent that says nothing")
	}
	c.before.Store(first)
	c.current.Store(second)
	for name, tt := range map[string]struct {
		bundle []byte
		want   *tls.Certificate
	}{
		"an agent that knows the one before": {firstPEM, first}, "the new one": {secondPEM, second},
		"both": {append(bytes.Clone(secondPEM), firstPEM...), second}, "neither": {nil, second},
	} {
		if c.present(tt.bundle) != tt.want {
			t.Errorf("%s is shown the other", name)
		}
	}
}
