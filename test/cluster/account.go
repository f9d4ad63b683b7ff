package cluster

import (
	"context"
	"fmt"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// systemNamespace is api.SystemNamespace, which lies above this package.
const systemNamespace = "stormcell-system"

// Install applies a folder of config, as an admin does.
func (c *Cluster) Install(ctx context.Context, folder string) error {
	if err := c.apply(ctx, nil, "--kustomize", filepath.Join(Root(), "config", folder)); err != nil {
		return fmt.Errorf("install config/%s: %w", folder, err)
	}
	return nil
}

// Account connects as a service account of the system namespace, by a token as
// a pod on node has one; with node "", by one that is bound to nothing.
func (c *Cluster) Account(ctx context.Context, name, node string) (*rest.Config, error) {
	clients, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	request := new(authenticationv1.TokenRequest)
	if node != "" {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: node}
	}
	token, err := clients.CoreV1().ServiceAccounts(systemNamespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("make a token of service account %s: %w", name, err)
	}
	config := rest.AnonymousClientConfig(c.Config)
	config.BearerToken = token.Status.Token
	return config, nil
}

// WriteKubeconfig writes a kubeconfig that connects as config does into dir,
// and returns its path.
func WriteKubeconfig(config *rest.Config, dir string) (string, error) {
	const name = "test"
	k := clientcmdapi.NewConfig()
	k.Clusters[name] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	k.AuthInfos[name] = &clientcmdapi.AuthInfo{
		ClientCertificateData: config.CertData, ClientKeyData: config.KeyData, Token: config.BearerToken,
	}
	k.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	k.CurrentContext = name
	file := filepath.Join(dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*k, file); err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	return file, nil
}
