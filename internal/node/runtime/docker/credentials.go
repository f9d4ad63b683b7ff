package docker

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/distribution/reference"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/credentials"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"

	"github.com/stormcell/stormcell/internal/node/runtime"
)

// ErrCredentials is a stormcell.docker.config that is not used as it is.
var ErrCredentials error = runtime.ImageError("stormcell.docker.config")

const (
	// maxCredentials is the size limit of the file in bytes.
	maxCredentials = 1 << 20
	// hub is Docker's own registry, and indexServer the name that its
	// credentials have for historical reasons.
	hub, indexServer = "docker.io", "https://index.docker.io/v1/"
)

// credentialsFor returns what Docker shall show the registry of an image, as
// the Engine API wants it; "" for nothing. It reads the file anew each time.
func credentialsFor(file, tag string) (string, error) {
	if file == "" {
		return "", nil
	}
	named, err := reference.ParseNormalizedNamed(tag)
	if err != nil {
		return "", fmt.Errorf("%w: %q: %w", ErrImageName, tag, err)
	}
	config, err := readCredentials(file)
	if err != nil {
		return "", err
	}
	host := reference.Domain(named)
	if host == hub {
		host = indexServer
	}
	// The file's own store: any other would run a program.
	found, err := credentials.NewFileStore(config).Get(host)
	if err != nil || found.Username == "" && found.IdentityToken == "" && found.RegistryToken == "" {
		return "", err
	}
	return authconfig.Encode(registry.AuthConfig{
		Username: found.Username, Password: found.Password, ServerAddress: host,
		IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken,
	})
}

// readCredentials reads a file that nobody but root can read or change.
func readCredentials(file string) (*configfile.ConfigFile, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	defer f.Close()
	if err := rootAlone(f); err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(f, maxCredentials+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	if len(content) > maxCredentials {
		return nil, fmt.Errorf("%w: %s is larger than %d bytes", ErrCredentials, file, maxCredentials)
	}
	config := configfile.New(file)
	if err := config.LoadFromReader(bytes.NewReader(content)); err != nil {
		return nil, fmt.Errorf("%w: %s is no Docker config.json: %w", ErrCredentials, file, err)
	}
	if config.CredentialsStore != "" || len(config.CredentialHelpers) > 0 {
		return nil, fmt.Errorf("%w: %s names credential helpers, which are programs that root does not run: write the credentials into \"auths\", and take credsStore and credHelpers out", ErrCredentials, file)
	}
	return config, nil
}

func rootAlone(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Uid != 0 || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%w: %s must belong to root and be readable only by root, run: chown root %[2]s; chmod 0600 %[2]s", ErrCredentials, f.Name())
	}
	return nil
}
