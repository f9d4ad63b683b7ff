package gateway

import (
	"context"
	"fmt"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"
)

// Where the API server says by which certificate and headers it is known to
// those it forwards requests to.
const (
	proxyNamespace = "kube-system"
	proxyConfig    = "extension-apiserver-authentication"
)

// frontProxy knows those whom the API server forwards: it alone has the client
// certificate without which the headers that name a user count for nothing.
type frontProxy struct {
	authenticator.Request
	authority *dynamiccertificates.ConfigMapCAController
	headers   *headerrequest.RequestHeaderAuthRequestController
}

func newFrontProxy(clients kubernetes.Interface) (*frontProxy, error) {
	authority, err := dynamiccertificates.NewDynamicCAFromConfigMapController(
		"front-proxy", proxyNamespace, proxyConfig, "requestheader-client-ca-file", clients)
	if err != nil {
		return nil, fmt.Errorf("set up the front proxy's authority: %w", err)
	}
	headers := headerrequest.NewRequestHeaderAuthRequestController(proxyConfig, proxyNamespace, clients,
		"requestheader-username-headers", "requestheader-uid-headers", "requestheader-group-headers",
		"requestheader-extra-headers-prefix", "requestheader-allowed-names")
	return &frontProxy{
		Request: headerrequest.NewDynamicVerifyOptionsSecure(authority.VerifyOptions,
			headerrequest.StringSliceProviderFunc(headers.AllowedClientNames), headerrequest.StringSliceProviderFunc(headers.UsernameHeaders),
			headerrequest.StringSliceProviderFunc(headers.UIDHeaders), headerrequest.StringSliceProviderFunc(headers.GroupHeaders),
			headerrequest.StringSliceProviderFunc(headers.ExtraHeaderPrefixes)),
		authority: authority, headers: headers,
	}, nil
}

// run keeps up with what the API server says, until ctx ends.
func (p *frontProxy) run(ctx context.Context) {
	go p.authority.Run(ctx, 1)
	p.headers.Run(ctx, 1)
}
