// Package managers is by what the managers are known: the Secret with the
// certificate that they share, and what others trust of it.
package managers

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// BundleKey has, in the Secret, every certificate that a manager may still use.
const BundleKey = "ca.crt"

// User is the name of the managers' service account.
const User = "system:serviceaccount:" + api.SystemNamespace + ":" + api.ManagerFieldOwner

// Secret is where the managers' certificate is.
var Secret = types.NamespacedName{Namespace: api.SystemNamespace, Name: "stormcell-manager-connect"}

// maxBundle is how many certificates count: the one in use and the one before,
// with a few to spare.
const maxBundle = 4

// CacheSecret narrows a manager's cache to the Secret.
func CacheSecret(objects map[client.Object]cache.ByObject) {
	objects[&corev1.Secret{}] = cache.ByObject{Namespaces: map[string]cache.Config{
		Secret.Namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", Secret.Name)},
	}}
}

// Certificates returns the certificates of a bundle in PEM, those in use first.
// What is none is left out.
func Certificates(bundle []byte) []*x509.Certificate {
	var found []*x509.Certificate
	for len(found) < maxBundle {
		var block *pem.Block
		if block, bundle = pem.Decode(bundle); block == nil {
			break
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			found = append(found, c)
		}
	}
	return found
}

// Bundle returns the certificates that a Secret's data has, as PEM and nothing
// else beside; nil if there are none.
func Bundle(data map[string][]byte) []byte {
	var bundle bytes.Buffer
	for _, c := range Certificates(data[BundleKey]) {
		_ = pem.Encode(&bundle, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a buffer takes it
	}
	return bundle.Bytes()
}
