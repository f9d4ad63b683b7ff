package explain

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// Advice of several explanations.
const (
	pushAgain  = "push it again: docker-to-squash --store STORE --force pull-build-push-update SOURCE,{tag}"
	retried    = "; the launch is retried automatically"
	checkAgent = "check what the node-agent logs: kubectl -n {system} get pods -o wide --field-selector spec.nodeName={node}"
	waitFor    = "wait, and watch it: kubectl -n {namespace} get stormworker {name} --watch"
)

// explanations are by the reason of a worker's Ready, or by the reason of the
// image's Resolved if the store cannot provide the image.
var explanations = map[string]explainer{
	// The manager, about the image.
	api.ReasonImageNotAllowed:  notAllowed,
	api.ReasonNotAllowed:       notAllowed,
	api.ReasonNoImagesAllowed:  noImagesAllowed,
	api.ReasonNoImage:          noImage,
	api.ReasonImageNameNotFull: fixed("{tag} is not the full name of an image, and {runtime} pulls images by full names", "create it again with registry, repository and tag, such as docker.io/library/debian:12; the message has the name that {tag} stands for"),
	api.ReasonMalformedName:    fixed("{tag} is not a valid image name", "create it again with an image [registry[:port]/]repository[:tag], repository in lower case, no digest"),
	api.ReasonImagePending:     fixed("image {tag} is still being looked up in the store", "wait a moment; if this persists, check whether the manager runs: kubectl -n {system} get deployments,pods"),
	api.ReasonImageNotResolved: fixed("the image store cannot provide {tag}", "check what is wrong with it: kubectl get stormimages -o wide"),
	api.ReasonTagNotFound:      fixed("the image store has no tag {tag}", "push it: docker-to-squash --store STORE pull-build-push-update SOURCE,{tag}; or create the worker again with one of: kubectl storm images"),
	api.ReasonManifestMissing:  fixed("the image store has lost the manifest of {tag}", pushAgain),
	api.ReasonManifestInvalid:  fixed("the manifest of {tag} in the image store is not usable", pushAgain),
	api.ReasonConfigMissing:    fixed("the image store has lost the config of {tag}", pushAgain),
	api.ReasonLayerMissing:     fixed("the image store has lost a layer of {tag}", pushAgain),
	api.ReasonLayerInvalid:     fixed("a layer of {tag} in the image store was altered, or cannot be verified", pushAgain),
	api.ReasonStoreUnavailable: fixed("the image store does not answer", "make it available again"+retried),
	api.ReasonStoreUnreadable:  fixed("the image store answers, but cannot be read", "check the store and its permissions"+retried),

	// The manager, about the node.
	api.ReasonScheduled:      scheduled,
	api.ReasonNodeNotFound:   fixed("there is no node {wanted}", "add the node, or create the worker again with another spec.nodeName of: kubectl get nodes"),
	api.ReasonNoNodeFits:     fixed("no node fits it", "remove one of these obstacles, and it is bound: kubectl get nodes --show-labels and kubectl storm ps -A show the current state"),
	api.ReasonRuntimeMissing: runtimeMissing,
	api.ReasonPortInUse:      fixed("port {port} is in use on its node", "delete the worker that uses the port, or create this one again with another spec.port: kubectl storm ps -A"),
	api.ReasonWorkerIDInUse:  fixed("another worker has its worker ID", "delete that worker, or create this one again with another spec.workerID, or with none: kubectl storm ps -A"),
	api.ReasonTopologyInUse:  fixed("workers of another namespace have its topology ID", "create it again with another spec.topologyID, or ask an admin in which namespace the topology runs"),
	api.ReasonNodeLost:       nodeLost,

	// The node's agent, about the launch.
	api.ReasonLocalizing:        localizing,
	api.ReasonLocalizeFailed:    fixed("its image could not be fetched to {node}", "check the store and the network to it"+retried),
	api.ReasonImageCorrupt:      fixed("what {node} fetched of image {tag} does not match its manifest", pushAgain),
	api.ReasonImagePullFailed:   imagePullFailed,
	api.ReasonDockerUnavailable: fixed("{node} has Docker turned on, and Docker does not answer", "start Docker there, or correct stormcell.docker.host in its storm.yaml"+retried+"; or delete the worker"),
	api.ReasonDiskFull:          fixed("the disk of the image cache on {node} is full", "free space on the file system of storm.oci.resources.local.dir on {node}"+retried),
	api.ReasonEvicted:           fixed("its image was evicted from {node} for another worker's", "free space on the file system of storm.oci.resources.local.dir on {node}"+retried),
	api.ReasonMountFailed:       fixed("its layers could not be mounted on {node}", checkAgent),
	api.ReasonUserRefused:       fixed("{node} does not allow workers to run as user {user}", "create the user on {node}, ask an admin to check min.user.id, banned.users and banned.groups in its worker-launcher.cfg, or create the worker again with another spec.user"),
	api.ReasonGroupUnknown:      fixed("{node} does not know the group that the files of workers belong to", "create the group on {node}, or correct storm.worker-launcher.group in its worker-launcher.cfg"+retried),
	api.ReasonBindSourceMissing: fixed("a directory that every worker gets is missing on {node}", "create it on {node}, or remove it from storm.oci.readonly.bindmounts or storm.oci.readwrite.bindmounts there"+retried),
	api.ReasonStarting:          fixed("its image is on {node}, and its container is being created", waitFor),
	api.ReasonStartFailed:       fixed("its container could not be started on {node}", checkAgent),

	// The node's agent, about the process.
	api.ReasonRunning:   running,
	api.ReasonCompleted: ended,
	api.ReasonFailed:    ended,
	api.ReasonOOMKilled: ended,

	api.ReasonEphemeralStorageExceeded: storageExceeded,

	api.ReasonCommandNotFound:  ended,
	api.ReasonCrashLoopBackOff: crashLoop,
	api.ReasonStopping:         stopping,
	api.ReasonRemoved:          fixed("it was deleted, and nothing of it is left on {node}", "wait for the manager to remove the object; if this persists: kubectl -n {system} get deployments,pods"),
}

func notAllowed(f Facts) (string, string) {
	if f.runtime().PullsImages() {
		return "image {tag} is not on the cluster's allowlist of runtime {runtime}",
			"create it again with an allowed image, or ask an admin to add this one to stormcell.docker.allowed.images in the manager's storm.yaml"
	}
	return "image {tag} is not on the cluster's allowlist",
		"create it again with an allowed image (kubectl storm images), or ask an admin to add this one to storm.oci.allowed.images in the manager's storm.yaml"
}

func noImagesAllowed(f Facts) (string, string) {
	if f.runtime().PullsImages() {
		return "the cluster allows no images in runtime {runtime}",
			"create it again with runtime Runc, or ask an admin to list images in stormcell.docker.allowed.images of the manager's storm.yaml"
	}
	return "the cluster allows no images", "ask an admin to list images in storm.oci.allowed.images of the manager's storm.yaml"
}

func noImage(f Facts) (string, string) {
	if f.runtime().PullsImages() {
		return "it names no image, and runtime {runtime} has no default", "create it again with spec.image"
	}
	return "it names no image, and the cluster has no default",
		"create it again with spec.image, or ask an admin to set storm.oci.image in the manager's storm.yaml"
}

// runtimeMissing is said by the manager before the worker is bound, and by the agent of
// the node that it is bound to.
func runtimeMissing(f Facts) (string, string) {
	node := "{node}"
	if f.Worker.Status.NodeName == "" {
		node = "{wanted}"
	}
	const elsewhere = "; or create the worker again on a node that has the runtime: kubectl get stormnodes -o wide"
	if f.runtime() == api.RuntimeDocker {
		return node + " does not have runtime Docker: it is not turned on there, or does not answer",
			"set stormcell.docker.enable to true in the storm.yaml of " + node + ", restart its node-agent and start Docker there" + elsewhere
	}
	return node + " does not have runtime {runtime}", "update its node-agent" + elsewhere
}

func imagePullFailed(f Facts) (string, string) {
	check := "check what the registry says and the name of the image"
	if f.runtime() == api.RuntimeDocker {
		check = "check what the registry says, the name of the image, and stormcell.docker.config on {node}"
	}
	return "{runtime} on {node} could not pull image {tag}", check + retried
}

// unavailable is of a runtime that has no explanation of its own.
func unavailable(Facts) (string, string) {
	return "{runtime} does not answer on {node}", "check its daemon there" + retried + "; or delete the worker"
}

func scheduled(f Facts) (string, string) {
	if f.LeaseGone {
		return "it is bound to {node}, from where no node-agent has reported yet", "check whether one runs there: kubectl -n {system} get pods -o wide --field-selector spec.nodeName={node}"
	}
	return "it is bound to {node}, where the node-agent has not started it yet", "wait a moment; if this persists, " + checkAgent
}

func nodeLost(f Facts) (string, string) {
	if f.NodeGone {
		return "its node {node} was removed from the cluster", "delete it, and create it again: kubectl -n {namespace} delete stormworker {name}"
	}
	why := "the node-agent of {node} is silent"
	switch quiet, silent := f.silentFor(); {
	case f.LeaseGone:
		why = "the node-agent of {node} no longer has a Lease"
	case silent:
		why = "the node-agent of {node} has been silent for " + quiet
	case f.Lease != nil:
		why = "the node-agent of {node} is back, and has not reported on it yet"
	}
	if f.Node != nil && !nodeReady(f.Node) {
		why += ", and the node is not ready either"
	}
	return why, "check the node and its agent: kubectl describe node {node}; kubectl -n {system} get pods -o wide --field-selector spec.nodeName={node}"
}

// nodeReady reports whether a node's kubelet is ready. A node without one is ready.
func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return true
}

func localizing(f Facts) (string, string) {
	why := "its image is being fetched to {node}"
	if l := f.Worker.Status.Localization; l != nil && l.TotalBytes > 0 {
		why += fmt.Sprintf(", %d %% of %s is there", l.Bytes*100/l.TotalBytes, resource.NewQuantity(l.TotalBytes>>20<<20, resource.BinarySI))
	}
	return why, waitFor
}

func running(f Facts) (string, string) {
	status := f.Worker.Status
	why := "runs on {node}, port {port}"
	if status.StartedAt != nil {
		why = "has run on {node}, port {port}, for " + f.since(*status.StartedAt)
	}
	next := "nothing; kubectl storm -n {namespace} logs {name} -f follows what it writes"
	if status.RestartCount > 0 {
		why += "; it was restarted " + times(status.RestartCount)
		if status.LastExit != nil {
			why += fmt.Sprintf(", last after it %s, %s ago", exitWords(status.LastExit, f.Worker), f.since(status.LastExit.FinishedAt))
			next = exitAdvice(status.LastExit, f.Worker)
		}
	}
	if c := meta.FindStatusCondition(status.Conditions, api.WorkerAdmitted); c != nil && c.Reason == api.ReasonImageNotAllowed {
		why += "; its image {tag} is no longer allowed, so it cannot be created again once it is deleted"
	}
	return why, next
}

func ended(f Facts) (string, string) {
	exit := f.Worker.Status.LastExit
	if exit == nil {
		return "it ended, and nothing recorded how", "create it again if it must run"
	}
	return fmt.Sprintf("it %s, %s ago, and its restartPolicy %s does not start it again",
			exitWords(exit, f.Worker), f.since(exit.FinishedAt), f.Worker.Spec.RestartPolicy),
		exitAdvice(exit, f.Worker)
}

func storageExceeded(f Facts) (string, string) {
	why := "it took up more of the disks of {node} than it may"
	if exit := f.Worker.Status.LastExit; exit != nil {
		why += ", and was ended " + f.since(exit.FinishedAt) + " ago"
	}
	next := "have it write less, or delete it and create it again with a higher spec.resources.limits.ephemeralStorage"
	if limit := f.Worker.Spec.Resources.Limits.EphemeralStorage; limit != nil {
		next += " than " + limit.String()
	}
	return why + "; its files are removed, and no restartPolicy starts it again", next + "; kubectl storm -n {namespace} logs {name} shows its last output"
}

func crashLoop(f Facts) (string, string) {
	exit := f.Worker.Status.LastExit
	if exit == nil {
		return "it ended, and waits to be restarted", waitFor
	}
	why := fmt.Sprintf("it %s, %s ago, and waits to be restarted", exitWords(exit, f.Worker), f.since(exit.FinishedAt))
	if n := f.Worker.Status.RestartCount; n > 0 {
		why += ", as it was " + times(n) + " before"
	}
	return why, exitAdvice(exit, f.Worker)
}

func stopping(f Facts) (string, string) {
	why := "it is being stopped"
	if f.Worker.DeletionTimestamp != nil {
		why = fmt.Sprintf("it was deleted %s ago, and is being stopped", f.since(*f.Worker.DeletionTimestamp))
	}
	return why, "wait: it gets spec.terminationGracePeriodSeconds to end, then it is killed; if this persists, " + checkAgent
}

func times(n int32) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
