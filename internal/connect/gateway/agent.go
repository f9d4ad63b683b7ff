package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "github.com/stormcell/stormcell/api/v1alpha1"
	"github.com/stormcell/stormcell/internal/message"
)

// What an agent may take, of time and of the manager's memory. A node may have
// been taken over, so nothing that it sends is believed.
const (
	dialLimit   = 5 * time.Second
	answerLimit = 10 * time.Second
	maxHeaders  = 32 << 10
	maxDocument = 4 << 20
)

// agent is that of one node.
type agent struct {
	node    string
	address string // host:port
	token   string
	roots   *x509.CertPool
}

// unavailable returns the error of an agent that does not answer: the cause and the cure.
func unavailable(node, cause, cure string) error {
	return apierrors.NewServiceUnavailable(fmt.Sprintf("the node-agent of node %s does not answer: %s; %s", node, cause, cure))
}

// agentOf is how the agent of a node is reached: by its Node's address, at the
// port and by the certificate that the agent itself has told.
func agentOf(node *corev1.Node, said *api.StormNodeAgent, token string) (*agent, error) {
	roots := x509.NewCertPool()
	if said == nil || !roots.AppendCertsFromPEM(said.CABundle) {
		return nil, unavailable(node.Name, "its StormNode does not report how to reach it", "check whether node-agent runs there, and its --connect-bind-address")
	}
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName} {
		for _, a := range node.Status.Addresses {
			if a.Type == kind {
				address := net.JoinHostPort(a.Address, strconv.Itoa(int(said.Port)))
				return &agent{node: node.Name, address: address, token: token, roots: roots}, nil
			}
		}
	}
	return nil, unavailable(node.Name, "its Node object has no address", "check status.addresses of the Node, which kubelet writes")
}

// get asks for a path. The body is the caller's to close; a refusal is an error.
func (a *agent) get(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	target := url.URL{Scheme: "https", Host: a.address, Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask the agent of node %s: %w", a.node, err)
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	// One connection for one answer: an agent that starts anew has another
	// certificate. A redirection is not followed.
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: dialLimit}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: a.roots, ServerName: a.node, MinVersion: tls.VersionTLS13},
		TLSHandshakeTimeout:   dialLimit,
		ResponseHeaderTimeout: answerLimit, MaxResponseHeaderBytes: maxHeaders,
		DisableKeepAlives: true, DisableCompression: true,
	}
	response, err := transport.RoundTrip(req)
	if err != nil {
		return nil, a.connectError(ctx, err)
	}
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		return nil, a.statusError(response)
	}
	return response.Body, nil
}

// connectError returns why an agent cannot be reached, and what to do.
func (a *agent) connectError(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err() // nobody is there any more
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return unavailable(a.node, "the server at "+a.address+" does not have the certificate that the StormNode reports",
			"if the agent has just started, try again; else check which program listens there")
	}
	return unavailable(a.node, err.Error(), "check whether node-agent runs there, and whether the manager can connect to "+a.address)
}

// statusError returns the Status that an agent has answered with. That the agent does not know
// the manager is not the fault of who asks, and says nothing of their rights.
func (a *agent) statusError(response *http.Response) error {
	var status metav1.Status
	err := json.NewDecoder(io.LimitReader(response.Body, maxHeaders)).Decode(&status)
	said := message.Truncate(status.Message, maxMessage)
	switch code := response.StatusCode; {
	case err != nil || said == "":
		return unavailable(a.node, "it answers "+strconv.Itoa(code)+" without a message", "check which program listens at "+a.address)
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return unavailable(a.node, "it rejects the manager: "+said, "check whether the agent reaches the API server, and the rights of both in config/rbac")
	default:
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: int32(code), Reason: status.Reason, Message: said, //nolint:gosec // three digits
		}}
	}
}

// maxMessage is the longest sentence of an agent's that is passed on.
const maxMessage = 1000

// read asks for a document.
func (a *agent) read(ctx context.Context, path string, document any) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	body, err := a.get(ctx, path, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, maxDocument)).Decode(document); err != nil {
		return unavailable(a.node, "its answer is invalid: "+err.Error(), "check which program listens at "+a.address)
	}
	return nil
}
