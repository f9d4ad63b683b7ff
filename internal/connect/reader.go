package connect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	"k8s.io/apiserver/pkg/authentication/user"
)

// readerHeader is where the manager tells an agent for whom it asks. The agent is
// told only which requests are of one user, and not of which.
const readerHeader = "Stormcell-Reader"

type readerKey struct{}

// Reader names the user of a request that a Backend answers, for the agent that it
// asks.
func Reader(ctx context.Context) string {
	name, _ := ctx.Value(readerKey{}).(string)
	return name
}

// SetReader tells an agent for whom it is asked.
func SetReader(header http.Header, reader string) {
	if reader != "" {
		header.Set(readerHeader, reader)
	}
}

// Readers tells who asks: those who are counted for the places for logs.
type Readers func(*http.Request, user.Info) string

// Themselves is for a server that its users ask themselves. What they say of
// themselves counts for nothing.
func Themselves(_ *http.Request, by user.Info) string {
	sum := sha256.Sum256([]byte(by.GetName()))
	return hex.EncodeToString(sum[:])
}

// OnBehalf is for a server that is asked by one who asks for others, and is
// trusted to say for whom.
func OnBehalf(req *http.Request, by user.Info) string {
	if name := req.Header.Get(readerHeader); name != "" {
		return name
	}
	return Themselves(req, by)
}
