package hdfs

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/colinmarc/hdfs/v2"
	"github.com/colinmarc/hdfs/v2/hadoopconf"

	"github.com/stormcell/stormcell/internal/store/hdfs/sasl"
)

// defaultPort is the NameNode's where neither the URL nor a file names one.
const defaultPort = "8020"

// defaultTimeout is how long a node may be silent while we wait for it.
const defaultTimeout = 20 * time.Second

// cluster is what Hadoop's configuration files say about one HDFS.
type cluster struct {
	// options has the NameNodes' addresses. Its user and Kerberos client are
	// still to be set.
	options hdfs.ClientOptions
	// protection of what goes to DataNodes and comes from them; "" is none, or
	// the library's where that of options is set.
	protection sasl.Level
	// secure tells that the NameNodes want Kerberos.
	secure bool
	// replication and blockSize of new files; 0 is the server's default.
	replication int
	blockSize   int64
	timeout     time.Duration
}

// readCluster looks host, the authority of a store's URL, up in the files of
// confDir. Without a confDir, host is that of a NameNode of a cluster without
// security.
func readCluster(confDir, host string) (*cluster, error) {
	conf := hadoopconf.HadoopConf{}
	if confDir != "" {
		var err error
		if conf, err = hadoopconf.Load(confDir); err != nil {
			return nil, fmt.Errorf("hadoop configuration in %s: %w", confDir, err)
		}
		if conf == nil {
			return nil, fmt.Errorf("hadoop configuration: %s has neither core-site.xml nor hdfs-site.xml", confDir)
		}
	}
	c := &cluster{options: hdfs.ClientOptionsFromConf(conf), timeout: defaultTimeout}
	c.secure = c.options.KerberosClient != nil
	c.options.Addresses = addresses(conf, host)
	if c.secure && c.options.KerberosServicePrincipleName == "" {
		return nil, fmt.Errorf("hadoop configuration in %s: Kerberos is on, but dfs.namenode.kerberos.principal is not set", confDir)
	}
	if len(c.options.Addresses) == 0 {
		return nil, fmt.Errorf("hadoop configuration in %s: name service %s has no dfs.namenode.rpc-address", confDir, host)
	}
	if err := c.readProtection(conf); err != nil {
		return nil, err
	}
	return c, c.readNumbers(conf)
}

// readProtection takes the protection of data from the library (why, package
// sasl says), but for dfs.encrypt.data.transfer: that has keys of its own, which
// only the library gets. Its encryption by AES is sound.
func (c *cluster) readProtection(conf hadoopconf.HadoopConf) error {
	const encrypt, suites, aes = "dfs.encrypt.data.transfer", "dfs.encrypt.data.transfer.cipher.suites", "AES/CTR/NoPadding"
	if strings.ToLower(conf[encrypt]) != "true" {
		c.protection = sasl.Level(c.options.DataTransferProtection)
		c.options.DataTransferProtection = ""
		return nil
	}
	if strings.TrimSpace(conf[suites]) != aes {
		return fmt.Errorf("hadoop configuration: %s is true, which is supported with AES only: set %s to %s, here and on the DataNodes", encrypt, suites, aes)
	}
	return nil
}

func (c *cluster) readNumbers(conf hadoopconf.HadoopConf) error {
	var err error
	number := func(key string) int64 {
		text := strings.TrimSpace(conf[key])
		if text == "" {
			return 0
		}
		n, parseErr := parseSize(text)
		if parseErr != nil {
			err = errors.Join(err, fmt.Errorf("hadoop configuration: %s is %q: want a number of at least 0", key, text))
		}
		return n
	}
	c.replication = int(number("dfs.replication"))
	c.blockSize = number("dfs.blocksize")
	if ms := number("dfs.client.socket-timeout"); ms > 0 {
		c.timeout = time.Duration(ms) * time.Millisecond
	}
	return err
}

// parseSize reads a number as Hadoop does: 134217728, or 128m.
func parseSize(s string) (int64, error) {
	shift := 10 * (1 + strings.IndexByte("kmgtpe", s[len(s)-1]|0x20))
	if shift > 0 {
		s = s[:len(s)-1]
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err == nil && (n < 0 || n > (1<<62)>>shift) {
		err = strconv.ErrRange
	}
	return n << shift, err
}

// addresses are those of the NameNodes of host, which is a name service of the
// configuration, or else a NameNode itself.
func addresses(conf hadoopconf.HadoopConf, host string) []string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return []string{host}
	}
	if nodes, ok := conf["dfs.ha.namenodes."+host]; ok {
		var found []string
		for node := range strings.SplitSeq(nodes, ",") {
			if a := strings.TrimSpace(conf["dfs.namenode.rpc-address."+host+"."+strings.TrimSpace(node)]); a != "" {
				found = append(found, a)
			}
		}
		return found
	}
	if a := strings.TrimSpace(conf["dfs.namenode.rpc-address."+host]); a != "" {
		return []string{a}
	}
	for service := range strings.SplitSeq(conf["dfs.nameservices"], ",") {
		if strings.TrimSpace(service) == host {
			return nil
		}
	}
	return []string{net.JoinHostPort(strings.Trim(host, "[]"), defaultPort)}
}
