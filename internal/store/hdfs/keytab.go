package hdfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	krb "github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/credentials"
	"github.com/jcmturner/gokrb5/v8/iana/nametype"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/krberror"
	"github.com/jcmturner/gokrb5/v8/types"
)

// fromKeytab logs in with the keytab.
func (t *tickets) fromKeytab(conf *config.Config) (*krb.Client, error) {
	kt, err := keytab.Load(t.keytab)
	if err != nil {
		return nil, loginError("keytab %s: %v", t.keytab, err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, loginError("the host's name, for _HOST: %v", err)
	}
	var held []principal
	for _, e := range kt.Entries {
		held = append(held, principal{strings.Join(e.Principal.Components, "/"), e.Principal.Realm})
	}
	who, err := choosePrincipal(t.principal, conf.LibDefaults.DefaultRealm, strings.ToLower(host), held)
	if err != nil {
		return nil, loginError("keytab %s: %v", t.keytab, err)
	}
	client := krb.NewWithKeytab(who.name, who.realm, kt, conf)
	if err := client.Login(); err != nil {
		return nil, t.refused(err)
	}
	return client, nil
}

// refused explains an error of a login with the keytab.
func (t *tickets) refused(err error) error {
	var k krberror.Krberror
	if errors.As(err, &k) && k.RootCause == krberror.NetworkingError {
		return loginError("as %s: the KDC of %s does not answer: %v", t.principal, t.krb5Conf, err)
	}
	return loginError("as %s with the keytab %s: %v; check the principal, that the keytab has its current key, and the clock", t.principal, t.keytab, err)
}

// principal is a Kerberos name, such as storm/node1 in EXAMPLE.COM.
type principal struct{ name, realm string }

func (p principal) String() string { return p.name + "@" + p.realm }

// choosePrincipal returns the principal that wanted means on host, which must
// be one of those that a keytab holds. host may lack the domain.
func choosePrincipal(wanted, defaultRealm, host string, held []principal) (principal, error) {
	name, realm, ok := strings.Cut(wanted, "@")
	if !ok {
		realm = defaultRealm
	}
	service, instance, _ := strings.Cut(name, "/")
	want := principal{name, realm}
	if instance == "_HOST" {
		want.name = service + "/" + host
	}
	for _, p := range held {
		if p == want || instance == "_HOST" && p.realm == realm && strings.HasPrefix(p.name, want.name+".") {
			return p, nil
		}
	}
	var names []string
	for _, p := range held {
		names = append(names, p.String())
	}
	slices.Sort(names)
	return principal{}, fmt.Errorf("it has no key of %s, only of %s", want, strings.Join(slices.Compact(names), ", "))
}

// fromCache takes the tickets that kinit has left.
func (t *tickets) fromCache(conf *config.Config) (*krb.Client, error) {
	c, err := loadCache(t.cache)
	if err != nil {
		return nil, err
	}
	client, err := krb.NewFromCCache(c, conf)
	if err != nil {
		return nil, loginError("ticket cache %s: %v; run kinit", t.cache, err)
	}
	return client, nil
}

func loadCache(path string) (c *credentials.CCache, err error) {
	// The library indexes without looking at the length.
	defer func() {
		if recover() != nil {
			err = loginError("ticket cache %s: it is cut short; run kinit", path)
		}
	}()
	content, err := readCache(path)
	if err != nil {
		return nil, loginError("ticket cache %s: %v", path, err)
	}
	c = new(credentials.CCache)
	if err := c.Unmarshal(content); err != nil {
		return nil, loginError("ticket cache %s: %v; run kinit", path, err)
	}
	return c, nil
}

// maxCache is how much of a ticket cache is read, in bytes.
const maxCache = 1 << 20

// readCache reads a ticket cache. By default it is in /tmp, where anybody can put a file:
// who we are to the cluster, and what we believe of it, must be our own.
func readCache(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, errors.New("it is a symbolic link, which is not followed; name the file itself by KRB5CCNAME")
	}
	if err != nil {
		return nil, fmt.Errorf("%w; run kinit, or give a keytab and its principal", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no regular file; remove it and run kinit, or name another one by KRB5CCNAME")
	case !ok || int(owner.Uid) != os.Geteuid():
		return nil, fmt.Errorf("it belongs to uid %d, and not to uid %d, which this runs as; remove it and run kinit as that user, or name another one by KRB5CCNAME", owner.Uid, os.Geteuid())
	case info.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("others can write to it (mode %04o); remove it and run kinit, which makes it with mode 0600", info.Mode().Perm())
	case info.Size() > maxCache:
		return nil, fmt.Errorf("it has %d bytes, more than %d; run kinit", info.Size(), maxCache)
	}
	return io.ReadAll(io.LimitReader(f, maxCache))
}

// ticketEnd is when the ticket that gets all others expires.
func ticketEnd(c *credentials.CCache) (time.Time, bool) {
	tgt, ok := c.GetEntry(types.PrincipalName{
		NameType: nametype.KRB_NT_SRV_INST, NameString: []string{"krbtgt", c.DefaultPrincipal.Realm},
	})
	if !ok {
		return time.Time{}, false
	}
	return tgt.EndTime, true
}
