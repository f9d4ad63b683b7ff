package gateway

import (
	"context"
	"crypto/tls"
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
	"github.com/stormcell/stormcell/internal/connect"
	"github.com/stormcell/stormcell/internal/kube/managers"
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
	target
	token string
	// by reaches it.
	by http.RoundTripper
}

// unavailable returns the error of an agent that does not answer: the cause and the cure.
func unavailable(node, cause, cure string) error {
	return apierrors.NewServiceUnavailable(fmt.Sprintf("the node-agent of node %s does not answer: %s; %s", node, cause, cure))
}

// targetOf is where the agent of a node is reached: at its Node's address, at the
// port and by the certificate that the agent itself has told.
func targetOf(node *corev1.Node, n *api.StormNode) (target, error) {
	said := n.Status.Agent
	if said == nil || len(managers.Certificates(said.CABundle)) == 0 {
		return target{}, unavailable(node.Name, "its StormNode does not report how to reach it",
			"check whether node-agent runs there, its --connect-bind-address, and the condition Listening of the StormNode")
	}
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName} {
		for _, a := range node.Status.Addresses {
			if a.Type == kind {
				is := target{node: node.Name, address: net.JoinHostPort(a.Address, strconv.Itoa(int(said.Port))), roots: said.CABundle}
				if n.Spec.Managers != nil {
					is.trusts = n.Spec.Managers.CABundle
				}
				return is, nil
			}
		}
	}
	return target{}, unavailable(node.Name, "its Node object has no address", "check status.addresses of the Node, which kubelet writes")
}

// get asks for a path. The body is the caller's to close; a refusal is an error.
func (a *agent) get(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	at := url.URL{Scheme: "https", Host: a.address, Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask the agent of node %s: %w", a.node, err)
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	connect.SetReader(req.Header, connect.Reader(ctx))
	response, err := a.by.RoundTrip(req)
	if err != nil {
		return nil, a.connectError(ctx, err)
	}
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		return nil, a.statusError(response)
	}
	return response.Body, nil
}

// alertOp is the Op of an error that the other end of TLS has told of.
const alertOp = "remote error"

// connectError returns why an agent cannot be reached, and what to do.
func (a *agent) connectError(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err() // nobody is there any more
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return unavailable(a.node, "the server at "+a.address+" does not have the certificate that the StormNode reports",
			"if the agent has just started, try again; else check which program listens there")
	}
	if remote, ok := errors.AsType[*net.OpError](err); ok && remote.Op == alertOp {
		return unavailable(a.node, "it does not let this manager in: "+err.Error(),
			"if the managers' certificate is new, try again; else compare spec.managers of StormNode "+a.node+" with Secret "+managers.Secret.String())
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
