package review

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// clockSkew is how far clocks of machines may be apart.
const clockSkew = time.Hour

// claims are what a token says of itself. Whether it is true, only the API server
// knows.
type claims struct {
	Subject  string    `json:"sub"`
	Audience audiences `json:"aud"`
	// Expires is in seconds since 1970; 0 if it does not.
	Expires float64 `json:"exp"`
}

// audiences are one text or a list of them.
type audiences []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audiences) UnmarshalJSON(content []byte) error {
	var one string
	if json.Unmarshal(content, &one) == nil {
		*a = audiences{one}
		return nil
	}
	return json.Unmarshal(content, (*[]string)(a))
}

// parse reads the claims of a JSON web token, and verifies nothing.
func parse(token string) (claims, bool) {
	parts := strings.Split(token, ".")
	if len(token) > maxToken || len(parts) != 3 {
		return claims{}, false
	}
	content, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return claims{}, false
	}
	var c claims
	if json.Unmarshal(content, &c) != nil {
		return claims{}, false
	}
	return c, true
}

// admits tells whether a token says of itself that it is one of those that count,
// and is not out of date. It costs nobody but the caller anything.
func (o Only) admits(token string, now time.Time) bool {
	if o == (Only{}) {
		return true // it need not be a JSON web token
	}
	c, ok := parse(token)
	switch {
	case !ok,
		o.Audience != "" && !slices.Contains(c.Audience, o.Audience),
		o.User != "" && c.Subject != o.User:
		return false
	}
	return c.Expires == 0 || c.Expires > float64(now.Add(-clockSkew).Unix())
}
