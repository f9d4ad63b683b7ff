package scripts

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// behaviourVariable is how the stand-ins for HDFS's daemons behave.
const behaviourVariable = "STORMCELL_STAND_IN"

const (
	// answerOnce has the NameNode answer each kind of question once.
	answerOnce = "answer once"
	// answerLate has the NameNode answer after a while.
	answerLate = "answer late"
	// die has the NameNode end at once.
	die = "die"
)

// late is how long a late answer takes: longer than five seconds, which was once
// the limit of one question.
const late = 6 * time.Second

// standInForJava is the program java as hack/hdfs.sh starts it: NameNode or
// DataNode.
func standInForJava() int {
	daemon := slices.IndexFunc(os.Args, func(arg string) bool { return strings.HasPrefix(arg, "org.apache.hadoop.") })
	switch {
	case daemon < 0:
		fmt.Fprintln(os.Stderr, "no class of Hadoop's:", os.Args)
		return 2
	case slices.Contains(os.Args, "-format"):
		return 0
	case strings.HasSuffix(os.Args[daemon], ".NameNode"):
		fmt.Fprintln(os.Stderr, standInForNameNode())
		return 1
	}
	for {
		_ = syscall.Pause() // until a signal ends it
	}
}

var httpAddress = regexp.MustCompile(`<name>dfs\.namenode\.http-address</name><value>([^<]+)</value>`)

// standInForNameNode serves the beans of a NameNode.
func standInForNameNode() error {
	behaviour := os.Getenv(behaviourVariable)
	if behaviour == die {
		return errors.New("the stand-in has no wish to live")
	}
	path := os.Args[slices.Index(os.Args, "-cp")+1]
	site, err := os.ReadFile(filepath.Join(path[strings.LastIndex(path, ":")+1:], "hdfs-site.xml"))
	if err != nil {
		return err
	}
	address := httpAddress.FindSubmatch(site)
	if address == nil {
		return fmt.Errorf("no address in %s", site)
	}
	return http.ListenAndServe(string(address[1]), &beans{behaviour: behaviour, asked: map[string]bool{}})
}

// beans answers what hack/hdfs.sh asks a NameNode.
type beans struct {
	behaviour string
	mu        sync.Mutex
	asked     map[string]bool
}

func (b *beans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bean := r.URL.Query().Get("qry")
	b.mu.Lock()
	again := b.asked[bean]
	b.asked[bean] = true
	b.mu.Unlock()
	switch {
	case b.behaviour == answerOnce && again:
		<-r.Context().Done()
		return
	case b.behaviour == answerLate:
		time.Sleep(late)
	}
	if strings.HasSuffix(bean, "name=NameNodeStatus") {
		fmt.Fprint(w, "    \"State\" : \"active\",\n")
		return
	}
	fmt.Fprint(w, "    \"FSState\" : \"Operational\",\n    \"NumLiveDataNodes\" : 3,\n")
}
