// Package review asks the API server which user a token belongs to, and which rights
// a user has. Nobody can use up what others may ask.
package review

import (
	"crypto/sha256"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/rest"
)

// The answers are in the terms of k8s.io/apiserver. That has clients of its own
// for them, with gRPC and CEL in tow: more than the rest of an agent.

const (
	// limit is how long an answer may take.
	limit = 10 * time.Second
	// maxKept is how many answers of one kind are kept, and callers counted.
	maxKept = 4096
	// callerTTL is for how long the requests of a caller are counted.
	callerTTL = 10 * time.Minute
)

// unlimited is a configuration for reviews alone: each caller has a limit, and the
// daemon's own requests are counted apart.
func unlimited(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.QPS, config.RateLimiter = -1, nil
	return config
}

// callers limits each of many callers on its own.
type callers struct {
	each  rate.Limit
	burst int
	known *cache.LRUExpireCache
}

func newCallers(each rate.Limit, burst int) *callers {
	return &callers{each: each, burst: burst, known: cache.NewLRUExpireCache(maxKept)}
}

// of returns the limit of one caller. Two that are new at once may both count
// from zero, which is no more than a burst.
func (c *callers) of(name string) *rate.Limiter {
	if found, ok := c.known.Get(name); ok {
		if limiter, ok := found.(*rate.Limiter); ok {
			return limiter
		}
	}
	limiter := rate.NewLimiter(c.each, c.burst)
	c.known.Add(name, limiter, callerTTL)
	return limiter
}

// digest is by what an answer is kept, so that no token is.
func digest(of []byte) [sha256.Size]byte { return sha256.Sum256(of) }
