package hdfs

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
)

// Names of single daemons.
const (
	NameNode1    = "namenode1"
	NameNode2    = "namenode2"
	DataNode1    = "datanode1"
	DataNode2    = "datanode2"
	DataNode3    = "datanode3"
	JournalNode1 = "journalnode1"
	JournalNode2 = "journalnode2"
	JournalNode3 = "journalnode3"
	KDC          = "kdc"
)

// StopDaemon ends a daemon with a signal, "TERM" or "KILL", and waits for its
// end.
func (c *Cluster) StopDaemon(name, signal string) error {
	_, err := c.script("stop", name, signal)
	return err
}

// SignalDaemon sends a daemon a signal and waits for nothing: after "STOP" it is
// there, keeps its connections and does not answer, until "CONT".
func (c *Cluster) SignalDaemon(name, signal string) error {
	_, err := c.script("signal", name, signal)
	return err
}

// StartDaemon starts a daemon that was stopped, with the data it had. It does
// not wait until the daemon serves: Await does.
func (c *Cluster) StartDaemon(name string) error {
	_, err := c.script("start", name)
	return err
}

// Await waits until HDFS serves: an active NameNode that is out of safe mode and
// knows all DataNodes that run.
func (c *Cluster) Await() error {
	_, err := c.script("await")
	return err
}

// Failover makes the other NameNode the active one, also when the one that was
// is gone.
func (c *Cluster) Failover() error {
	_, err := c.script("failover")
	return err
}

// SafeMode makes the NameNode refuse writes, or takes that back.
func (c *Cluster) SafeMode(on bool) error {
	verb := "leave"
	if on {
		verb = "enter"
	}
	_, err := c.Admin("dfsadmin", "-safemode", verb)
	return err
}

// blockName finds the names of blocks in the words of fsck, without generation.
var blockName = regexp.MustCompile(`:(blk_\d+)_\d+ len=`)

// Block is a block of a file and its replicas.
type Block struct {
	// Name is what HDFS calls it, "blk_1073741825".
	Name string
	// Replicas are the files that DataNodes keep of it, by DataNode.
	Replicas map[string]string
}

// Blocks finds the blocks of a file, in order, and where DataNodes keep them, so
// that a test can remove or alter them behind HDFS's back.
func (c *Cluster) Blocks(name string) ([]Block, error) {
	words, err := c.Admin("fsck", name, "-files", "-blocks")
	if err != nil {
		return nil, err
	}
	var blocks []Block
	for _, match := range blockName.FindAllStringSubmatch(words, -1) {
		blocks = append(blocks, Block{Name: match[1], Replicas: make(map[string]string)})
	}
	if len(blocks) == 0 {
		return nil, fmt.Errorf("fsck knows no blocks of %s: %s", name, strings.TrimSpace(words))
	}
	for i := range blocks {
		if err := c.findReplicas(&blocks[i]); err != nil {
			return nil, err
		}
	}
	return blocks, nil
}

func (c *Cluster) findReplicas(block *Block) error {
	for _, node := range []string{DataNode1, DataNode2, DataNode3} {
		err := filepath.WalkDir(filepath.Join(c.dir, node), func(name string, entry fs.DirEntry, err error) error {
			// What a DataNode moves meanwhile is not found.
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && entry.Name() == block.Name {
				block.Replicas[node] = name
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("look for %s on %s: %w", block.Name, node, err)
		}
	}
	return nil
}
