// Command pause holds the name spaces of a pod. A cluster from hack/cluster.sh
// has no registry to take Kubernetes' own from.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	<-end
}
