package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"
)

// systemNamespace is api.SystemNamespace, which lies above this package.
const systemNamespace = "stormcell-system"

// Daemon makes the system namespace and a user that has the rights of
// config/rbac/<role> and no others, as the daemon of that role has.
func (c *Cluster) Daemon(ctx context.Context, name, role string) (*envtest.AuthenticatedUser, error) {
	admin, err := client.New(c.Config, client.Options{})
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: systemNamespace}}
	if err := client.IgnoreAlreadyExists(admin.Create(ctx, namespace)); err != nil {
		return nil, fmt.Errorf("create namespace: %w", err)
	}
	content, err := os.ReadFile(filepath.Join(Root(), "config", "rbac", role))
	if err != nil {
		return nil, fmt.Errorf("read roles: %w", err)
	}
	for document := range bytes.SplitSeq(content, []byte("---\n")) {
		if len(bytes.TrimSpace(document)) == 0 {
			continue
		}
		role := new(unstructured.Unstructured)
		if err := yaml.Unmarshal(document, &role.Object); err != nil {
			return nil, fmt.Errorf("read roles: %w", err)
		}
		for _, obj := range []client.Object{role, binding(role, name)} {
			if err := admin.Create(ctx, obj); err != nil {
				return nil, fmt.Errorf("create %s %s: %w", role.GetKind(), role.GetName(), err)
			}
		}
	}
	user, err := c.environment.AddUser(envtest.User{Name: name}, nil)
	if err != nil {
		return nil, fmt.Errorf("add user %s: %w", name, err)
	}
	user.Config().QPS = -1
	return user, nil
}

func binding(role *unstructured.Unstructured, user string) client.Object {
	meta := metav1.ObjectMeta{Name: role.GetName(), Namespace: role.GetNamespace()}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: role.GetKind(), Name: role.GetName()}
	subjects := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}}
	if role.GetNamespace() == "" {
		return &rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: ref}
	}
	return &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: ref}
}
