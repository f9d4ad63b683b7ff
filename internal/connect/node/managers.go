package node

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/stormcell/stormcell/internal/kube/managers"
)

// trusted are the certificates by which managers are known, and what lets in those
// who have one.
type trusted struct {
	bundle []byte
	config *tls.Config
}

// door lets in the managers, and nobody before they are known. Those who have no
// certificate of theirs are refused in the handshake.
type door struct {
	own     tls.Certificate
	trusted atomic.Pointer[trusted]
}

var (
	errNobodyYet = errors.New("the StormNode does not say by which certificate managers are known")
	errNoManager = errors.New("the certificate is no manager's")
)

// trust lets in who has a certificate of a bundle, from now on and nobody else.
func (d *door) trust(bundle []byte) {
	if is := d.trusted.Load(); is != nil && bytes.Equal(is.bundle, bundle) {
		return
	}
	d.trusted.Store(&trusted{bundle: bundle, config: configFor(d.own, managers.Certificates(bundle))})
}

// configFor serves with a certificate to those who have one of others. Each of
// those counts by itself: what it may have signed does not.
func configFor(own tls.Certificate, known []*x509.Certificate) *tls.Config {
	roots := x509.NewCertPool()
	for _, c := range known {
		roots.AddCert(c)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots, SessionTicketsDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !slices.ContainsFunc(known, s.PeerCertificates[0].Equal) {
				return errNoManager
			}
			return nil
		},
	}
}

// config asks for each connection anew who is let in.
func (d *door) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if is := d.trusted.Load(); is != nil {
				return is.config, nil
			}
			return nil, errNobodyYet
		},
	}
}
