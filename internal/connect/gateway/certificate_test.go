package gateway

import (
	"bytes"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
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
