package hdfs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/colinmarc/hdfs/v2"
	krb "github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"

	"github.com/stormcell/stormcell/internal/store"
)

// errLogin is a failure to show a NameNode who we are. Nothing is known of the
// store then, and trying again at once is no cure.
var errLogin = fmt.Errorf("%w: cannot log in", store.ErrUnavailable)

// loginError says what fails in a login. The causes are not wrapped: a keytab
// that does not exist must not read as a file of the store that does not.
func loginError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errLogin, fmt.Sprintf(format, args...))
}

// login is who we are to an HDFS: a name, or where Kerberos is on, what keeps
// tickets for one.
type login struct {
	// name is the user where Kerberos is off.
	name string
	// service is the NameNodes' principal without realm, with _HOST in it.
	service string
	tickets *tickets
}

// newLogin takes what it needs from the environment: HADOOP_USER_NAME, and for
// Kerberos KRB5_CONFIG and KRB5CCNAME. It opens no file yet.
func newLogin(c *cluster, o Options) (*login, error) {
	if !c.secure {
		if o.Keytab != "" && o.ConfDir == "" {
			return nil, errors.New("a keytab is given, but no Hadoop configuration: set HADOOP_CONF_DIR to the folder of core-site.xml and hdfs-site.xml")
		}
		name, err := userName()
		return &login{name: name}, err
	}
	l := &login{
		service: c.options.KerberosServicePrincipleName,
		tickets: &tickets{lock: make(chan struct{}, 1), keytab: o.Keytab, principal: o.Principal, krb5Conf: os.Getenv("KRB5_CONFIG")},
	}
	if l.tickets.krb5Conf == "" {
		l.tickets.krb5Conf = "/etc/krb5.conf"
	}
	if (o.Keytab == "") != (o.Principal == "") {
		return nil, errors.New("a keytab and its principal: give both or neither")
	}
	if o.Keytab != "" {
		return l, nil
	}
	kind, path, ok := strings.Cut(os.Getenv("KRB5CCNAME"), ":")
	switch {
	case !ok && kind == "":
		path = fmt.Sprintf("/tmp/krb5cc_%d", os.Getuid())
	case !ok:
		path = kind
	case kind != "FILE":
		return nil, fmt.Errorf("KRB5CCNAME is of the kind %s: only FILE is supported; give a keytab, or kinit -c FILE:path", kind)
	}
	l.tickets.cache = path
	return l, nil
}

func userName() (string, error) {
	if name := os.Getenv("HADOOP_USER_NAME"); name != "" {
		return name, nil
	}
	u, err := user.Current()
	if err != nil {
		return "", fmt.Errorf("the user's name is not known, set HADOOP_USER_NAME: %w", err)
	}
	return u.Username, nil
}

// user is the name that a NameNode knows us by, for messages.
func (l *login) user() string {
	if l.tickets == nil {
		return l.name
	}
	return l.tickets.who()
}

// refused explains that a NameNode did not let us in.
func (l *login) refused(err error) error {
	if l.tickets == nil {
		return loginError("without Kerberos, as user %s: %v; if the cluster is secure, set HADOOP_CONF_DIR to the folder of its core-site.xml and hdfs-site.xml", l.name, err)
	}
	return loginError("as %s: %v", l.tickets.who(), err)
}

// identify sets who we are in options, and returns what is to be done before
// the NameNode at an address is spoken to.
func (l *login) identify(ctx context.Context, options *hdfs.ClientOptions) (admit func(ctx context.Context, addr string) error, _ error) {
	if l.tickets == nil {
		options.KerberosClient, options.User = nil, l.name
		return func(context.Context, string) error { return nil }, nil
	}
	client, err := l.tickets.client(ctx)
	if err != nil {
		return nil, err
	}
	options.KerberosClient = client
	return func(ctx context.Context, addr string) error {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return err
		}
		// The library takes it from the client's cache then. It would wait
		// for the KDC without regard to a context.
		service := strings.Replace(l.service, "_HOST", strings.ToLower(host), 1)
		if err := l.tickets.fetch(ctx, client, service); err != nil {
			return fmt.Errorf("ticket for %s (dfs.namenode.kerberos.principal): %w", service, err)
		}
		return nil
	}, nil
}

// tickets keeps a Kerberos client that is logged in.
type tickets struct {
	krb5Conf          string
	keytab, principal string
	cache             string

	// lock is held by whoever sets what is below, also by one that waits for
	// the KDC and whose caller has given up.
	lock    chan struct{}
	current *krb.Client
	// source is the state of the keytab or cache that current was made from.
	source os.FileInfo
}

// who names the principal, for messages.
func (t *tickets) who() string {
	if t.principal != "" {
		return t.principal
	}
	return "of the ticket cache " + t.cache
}

// client returns a client that has logged in. It is made anew when its keytab
// or ticket cache has changed.
func (t *tickets) client(ctx context.Context) (client *krb.Client, err error) {
	err = t.alone(ctx, func() error {
		client, err = t.refresh()
		return err
	})
	return client, err
}

// alone runs f, which may wait for a KDC, while nobody else runs another one.
// It returns when ctx ends, even if f goes on.
func (t *tickets) alone(ctx context.Context, f func() error) error {
	select {
	case t.lock <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-t.lock }()
		done <- f()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *tickets) refresh() (*krb.Client, error) {
	path, kind := t.keytab, "keytab"
	if path == "" {
		path, kind = t.cache, "ticket cache"
	}
	now, err := os.Stat(path)
	if err != nil {
		hint := ""
		if t.keytab == "" {
			hint = "; run kinit, or give a keytab and its principal"
		}
		return nil, loginError("%s: %v%s", kind, err, hint)
	}
	old := t.source
	if t.current != nil && os.SameFile(old, now) && old.ModTime().Equal(now.ModTime()) && old.Size() == now.Size() {
		return t.current, t.checkCache()
	}
	conf, err := config.Load(t.krb5Conf)
	if err != nil {
		return nil, loginError("Kerberos configuration %s: %v; set KRB5_CONFIG to the right file", t.krb5Conf, err)
	}
	var client *krb.Client
	if t.keytab != "" {
		client, err = t.fromKeytab(conf)
	} else {
		client, err = t.fromCache(conf)
	}
	if err != nil {
		return nil, err
	}
	t.current, t.source = client, now
	return client, t.checkCache()
}

// fetch gets the ticket for a service into the client's cache. The client
// renews what it got from a keytab by itself, mostly; where that fails, it
// logs in again.
func (t *tickets) fetch(ctx context.Context, client *krb.Client, service string) error {
	return t.alone(ctx, func() error {
		_, _, err := client.GetServiceTicket(service)
		if err == nil || t.keytab == "" {
			return err
		}
		if again := client.Login(); again != nil {
			return t.refused(again)
		}
		_, _, err = client.GetServiceTicket(service)
		return err
	})
}

// expiry returns an error once the ticket of the cache has come to its end.
func (t *tickets) checkCache() error {
	if t.keytab != "" {
		return nil
	}
	c, err := loadCache(t.cache)
	if err != nil {
		return err
	}
	end, ok := ticketEnd(c)
	if ok && !time.Now().Before(end) {
		return loginError("the ticket of %s@%s in %s expired at %s: run kinit, or give a keytab and its principal",
			c.DefaultPrincipal.PrincipalName.PrincipalNameString(), c.DefaultPrincipal.Realm, t.cache, end.UTC().Format(time.RFC3339))
	}
	return nil
}
