package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// makeFrontProxy makes a certificate in a folder by which those know the API
// server that it forwards requests to, and gives it to the API server.
func makeFrontProxy(dir string, options *envtest.Arguments) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("front proxy's key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "front-proxy"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true, IsCA: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("front proxy's certificate: %w", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("front proxy's key: %w", err)
	}
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: certificate}, keyFile: {Type: "PRIVATE KEY", Bytes: encoded}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			return fmt.Errorf("front proxy's certificate: %w", err)
		}
	}
	options.Set("requestheader-client-ca-file", certFile).Set("requestheader-allowed-names", "front-proxy").
		Set("requestheader-username-headers", "X-Remote-User").Set("requestheader-group-headers", "X-Remote-Group").
		Set("requestheader-extra-headers-prefix", "X-Remote-Extra-").
		Set("proxy-client-cert-file", certFile).Set("proxy-client-key-file", keyFile)
	return nil
}

// ConnectPort is where Connect leads to, on any address.
const ConnectPort = "9443"

// Connect leads the API server to a manager on ConnectPort of an address of
// this machine's loopback.
func (c *Cluster) Connect(ctx context.Context, address string) error {
	manifest, err := os.ReadFile(filepath.Join(Root(), "config", "connect", "host.yaml"))
	if err != nil {
		return fmt.Errorf("lead the API server to the manager: %w", err)
	}
	manifest = bytes.ReplaceAll(manifest, []byte("localhost"), []byte(address))
	return c.apply(ctx, manifest, "--filename", "-")
}

// apply runs "kubectl apply" as an admin.
func (c *Cluster) apply(ctx context.Context, input []byte, args ...string) error {
	dir, err := os.MkdirTemp("", "stormcell-admin-")
	if err != nil {
		return fmt.Errorf("make a folder for the admin's kubeconfig: %w", err)
	}
	defer os.RemoveAll(dir)
	kubeconfig, err := WriteKubeconfig(c.Config, dir)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, Kubectl(), append([]string{"--kubeconfig", kubeconfig, "apply", "--server-side"}, args...)...)
	cmd.Stdin = bytes.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w:\n%s", cmd, err, out)
	}
	return nil
}
