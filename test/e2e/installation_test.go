//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/e2e-framework/pkg/envconf"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/config"
	"github.com/stormcell/stormcell/test/census"
	"github.com/stormcell/stormcell/test/image"
)

// The images of the suite: the default one, two that are built upon it, and one
// that is in the store and that nobody may use.
const (
	baseImage      = "e2e/base:1"
	otherImage     = "e2e/other:1"
	aheadImage     = "e2e/ahead:1"
	forbiddenImage = "e2e/forbidden:1"
)

var (
	// storeURL is where images lie, places where agents keep what is of workers.
	storeURL string
	places   census.Places
)

// readInstallation learns from stormcell's ConfigMap how it is installed.
func readInstallation(ctx context.Context, _ *envconf.Config) (context.Context, error) {
	var m corev1.ConfigMap
	if err := cluster.Get(ctx, client.ObjectKey{Namespace: api.SystemNamespace, Name: "stormcell-config"}, &m); err != nil {
		return ctx, fmt.Errorf("is stormcell installed in this cluster? %w", err)
	}
	conf, err := parse(m.Data["storm.yaml"])
	if err != nil {
		return ctx, err
	}
	for _, tag := range []string{baseImage, otherImage, aheadImage} {
		if !slices.Contains(conf.Images.Allowed, tag) {
			return ctx, fmt.Errorf("storm.oci.allowed.images of the installation is %v and must have %s for this suite", conf.Images.Allowed, tag)
		}
	}
	if conf.Images.Default != baseImage {
		return ctx, fmt.Errorf("storm.oci.image of the installation is %q and must be %s for this suite", conf.Images.Default, baseImage)
	}
	storeURL = conf.Store.URL
	places = census.Places{
		RunRoot: conf.Node.RunRoot, LocalDir: conf.Node.LocalDir, CacheDir: conf.Node.ResourcesDir,
		LogDir: conf.Node.LogDir, CgroupParent: conf.Cgroup.Parent,
	}
	return ctx, nil
}

// parse reads a storm.yaml.
func parse(content string) (conf *config.Config, err error) {
	file, err := os.CreateTemp("", "storm-*.yaml")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	_, err = file.WriteString(content)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	conf, _, err = config.Load(file.Name())
	return conf, err
}

// publishImages puts the suite's images into the store, by the image tool and
// from here: what the store's URL names must be the same here and there.
func publishImages(ctx context.Context, _ *envconf.Config) (context.Context, error) {
	dir, err := os.MkdirTemp("", "stormcell-e2e-")
	if err != nil {
		return ctx, err
	}
	defer os.RemoveAll(dir)
	tool := filepath.Join(dir, "docker-to-squash")
	if err := command(ctx, "go", "build", "-o", tool, "../../cmd/docker-to-squash"); err != nil {
		return ctx, err
	}
	for tag, layers := range map[string]int{baseImage: 1, otherImage: 3, aheadImage: 4, forbiddenImage: 2} {
		archive := filepath.Join(dir, "image.tar")
		if err := image.WriteLayers(archive, tag, layers); err != nil {
			return ctx, err
		}
		if err := command(ctx, tool, "--store", storeURL, "--bootstrap", "pull-build-push-update", "docker-archive:"+archive+","+tag); err != nil {
			return ctx, err
		}
	}
	return ctx, nil
}

func makeNamespace(ctx context.Context, _ *envconf.Config) (context.Context, error) {
	n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "privileged", // for the probes
	}}}
	return ctx, cluster.Create(ctx, n)
}

func removeNamespace(ctx context.Context, _ *envconf.Config) (context.Context, error) {
	if cluster == nil {
		return ctx, nil
	}
	return ctx, cluster.Delete(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
}
