package source

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"github.com/stormcell/stormcell/internal/store/manifest"
)

// registry is a repository of a registry. Credentials come from where docker
// and podman keep them.
type registry struct {
	repository name.Repository
	puller     *remote.Puller
}

func openRegistry(ctx context.Context, ref string, platform Platform) (*Image, error) {
	r, err := name.ParseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadReference, err)
	}
	puller, err := remote.NewPuller(
		remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithTransport(secureTransport{remote.DefaultTransport}),
		remote.WithUserAgent("docker-to-squash"),
	)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", r.Context().RegistryStr(), err)
	}
	found, err := puller.Get(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", r.Context().RegistryStr(), err)
	}
	if found.MediaType.IsSchema1() {
		return nil, fmt.Errorf("%w: a schema 1 manifest: push the image again with a current tool", manifest.ErrUnsupported)
	}
	b := &registry{repository: r.Context(), puller: puller}
	return newImage(ctx, b, found.Manifest, digest.FromBytes(found.Manifest), platform)
}

func (r *registry) manifest(ctx context.Context, d digest.Digest) ([]byte, error) {
	found, err := r.puller.Get(ctx, r.repository.Digest(d.String()))
	if err != nil {
		return nil, err
	}
	return found.Manifest, nil
}

func (r *registry) blob(ctx context.Context, d manifest.Descriptor) (io.ReadCloser, error) {
	var layer v1.Layer
	layer, err := r.puller.Layer(ctx, r.repository.Digest(d.Digest.String()))
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", r.repository.RegistryStr(), err)
	}
	blob, err := layer.Compressed()
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", r.repository.RegistryStr(), err)
	}
	return blob, nil
}

func (r *registry) Close() error { return nil }

// secureTransport refuses to speak plain HTTP with another machine, as the
// library would with private addresses: credentials would go in the clear.
type secureTransport struct{ http.RoundTripper }

func (t secureTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !isLoopback(req.URL.Hostname()) {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, fmt.Errorf("%s does not speak HTTPS, and plain HTTP is for registries on this machine only", req.URL.Host)
	}
	return t.RoundTripper.RoundTrip(req)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
