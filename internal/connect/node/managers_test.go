package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stormcell/stormcell/internal/connect"
	"github.com/stormcell/stormcell/internal/listen"
)

// made is a certificate of somebody's own.
func made(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	certificate, key, err := connect.SelfSigned("somebody", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair, certificate
}

// signed is a certificate that another one has signed.
func signed(t *testing.T, by tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, by.Leaf, key.Public(), by.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw, by.Certificate[0]}, PrivateKey: key}
}

// TestDoor: nobody is let in who has none of the managers' certificates, and nobody
// at all before these are known. A new one counts at once, beside the one before for
// as long as that is in the bundle.
func TestDoor(t *testing.T) {
	own, _ := made(t)
	first, firstPEM := made(t)
	second, secondPEM := made(t)
	stranger, _ := made(t)
	child := signed(t, first)
	d := door{own: own}
	asked := make(chan struct{}, 100)
	address := serveDoor(t, &d, func(http.ResponseWriter, *http.Request) { asked <- struct{}{} })

	steps := []struct {
		name   string
		bundle []byte
		in     []*tls.Certificate
	}{
		{"before the managers are known", nil, nil},
		{"the first", firstPEM, []*tls.Certificate{&first}},
		{"both", slices.Concat(secondPEM, firstPEM), []*tls.Certificate{&first, &second}},
		{"the second", secondPEM, []*tls.Certificate{&second}},
		{"nothing that is a certificate", []byte("nonsense"), nil},
	}
	for n, step := range steps {
		if n > 0 {
			d.trust(step.bundle)
		}
		for who, by := range map[string]*tls.Certificate{"nobody": nil, "a stranger": &stranger, "who has a signature of the first": &child, "the first": &first, "the second": &second} {
			got := enters(t, address, by)
			if want := slices.Contains(step.in, by); got != want || len(asked) > 0 != want {
				t.Errorf("%s: %s gets in: %v, and the handler was asked: %v", step.name, who, got, len(asked) > 0)
			}
			for len(asked) > 0 {
				<-asked
			}
		}
	}
}

func serveDoor(t *testing.T, d *door, handler http.HandlerFunc) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- listen.Serve(ctx, listener, d.config(), handler, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// enters tells whether somebody gets an answer.
func enters(t *testing.T, address string, by *tls.Certificate) bool {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
	if by != nil {
		// Whatever the server says it accepts.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return by, nil }
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(req)
	if err != nil {
		return false
	}
	response.Body.Close()
	return true
}
