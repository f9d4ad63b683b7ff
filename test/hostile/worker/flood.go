package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// flood keeps a server busy with strangers: many that show it a new token again
// and again, and many that say nothing, some before and some after the handshake.
// Whoever is thrown out comes again at once. Its arguments are the server's
// address, how many show tokens, and how many are silent.
func flood(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("flood ADDRESS TOKENS SILENT, not %q", args)
	}
	showing, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	silent, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	for n := range showing + silent {
		stranger := showTokens
		switch {
		case n < showing:
		case n%2 == 0:
			stranger = sayNothing
		default:
			stranger = sayNothingMore
		}
		all.Add(1)
		connected := sync.OnceFunc(all.Done)
		go func() {
			for {
				conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(context.Background(), "tcp", args[0])
				if err != nil {
					continue
				}
				connected()
				stranger(conn)
				conn.Close()
			}
		}()
	}
	all.Wait()
	fmt.Println("flooding")
	stay()
	return nil
}

// handshake is that of somebody without a certificate.
func handshake(conn net.Conn) (net.Conn, error) {
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // whoever it is
	return secure, secure.HandshakeContext(context.Background())
}

// showTokens asks with tokens that nobody has made, for as long as the server answers.
func showTokens(conn net.Conn) {
	conn, err := handshake(conn)
	if err != nil {
		return
	}
	answers := bufio.NewReader(conn)
	for {
		token := rand.Text() + "." + rand.Text() + "." + rand.Text()
		if _, err := fmt.Fprintf(conn, "GET /apis/connect.stormcell.dev/v1alpha1/namespaces/default/stormworkers/w/log HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n\r\n", token); err != nil {
			return
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			return
		}
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if err != nil || response.Close {
			return
		}
	}
}

// sayNothing waits until the server has enough of it.
func sayNothing(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// sayNothingMore does so after the handshake.
func sayNothingMore(conn net.Conn) {
	if conn, err := handshake(conn); err == nil {
		_, _ = io.Copy(io.Discard, conn)
	}
}
