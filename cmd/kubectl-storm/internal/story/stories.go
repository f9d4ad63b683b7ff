package story

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// What several stories advise.
const (
	pushAnew   = "push it anew: docker-to-squash --store STORE --force pull-build-push-update SOURCE,{tag}"
	triedAgain = "; the launch is tried again by itself"
	seeAgent   = "see what the node-agent logs: kubectl -n {system} get pods -o wide --field-selector spec.nodeName={node}"
	waitFor    = "wait, and watch it: kubectl -n {namespace} get stormworker {name} --watch"
)

// stories are told by the reason of a worker's Ready, or, of an image that the
// store cannot give, by the reason of the image's Resolved.
var stories = map[string]teller{
	// What the manager says of the image.
	api.ReasonImageNotAllowed:  notAllowed,
	api.ReasonNotAllowed:       notAllowed,
	api.ReasonNoImagesAllowed:  say("the cluster allows no image at all", "have an admin list images in storm.oci.allowed.images of the manager's storm.yaml"),
	api.ReasonNoImage:          say("it names no image, and the cluster has no default", "make it anew with spec.image, or have an admin set storm.oci.image in the manager's storm.yaml"),
	api.ReasonMalformedName:    say("{tag} is not the name of an image", "make it anew with an image [registry[:port]/]repository[:tag], repository in lower case, no digest"),
	api.ReasonImagePending:     say("image {tag} is still being looked up in the store", "wait a moment; if it lasts, see whether the manager runs: kubectl -n {system} get deployments,pods"),
	api.ReasonImageNotResolved: say("the image store does not have {tag} as a whole", "see what is wrong with it: kubectl get stormimages -o wide"),
	api.ReasonTagNotFound:      say("the image store has no tag {tag}", "push it: docker-to-squash --store STORE pull-build-push-update SOURCE,{tag}; or make the worker anew with one of: kubectl storm images"),
	api.ReasonManifestMissing:  say("the image store has lost the manifest of {tag}", pushAnew),
	api.ReasonManifestInvalid:  say("the manifest of {tag} in the image store is not one that can be used", pushAnew),
	api.ReasonConfigMissing:    say("the image store has lost the config of {tag}", pushAnew),
	api.ReasonLayerMissing:     say("the image store has lost a layer of {tag}", pushAnew),
	api.ReasonLayerInvalid:     say("a layer of {tag} in the image store is not what it was, or cannot be verified", pushAnew),
	api.ReasonStoreUnavailable: say("the image store does not answer", "bring the store back"+triedAgain),
	api.ReasonStoreUnreadable:  say("the image store answers, but cannot be read", "see to the store and its rights"+triedAgain),

	// What the manager says of the node.
	api.ReasonScheduled:    scheduled,
	api.ReasonNodeNotFound: say("there is no node {wanted}", "add the node, or make the worker anew with another spec.nodeName of: kubectl get nodes"),
	api.ReasonNoNodeFits:   say("no node can take it", "take one of these obstacles away, and it is bound: kubectl get nodes --show-labels and kubectl storm ps -A show what there is"),
	api.ReasonPortInUse:    say("port {port} is taken on its node", "delete the worker that has the port, or make this one anew with another spec.port: kubectl storm ps -A"),
	api.ReasonNodeLost:     nodeLost,

	// What the node's agent says of the launch.
	api.ReasonLocalizing:        localizing,
	api.ReasonLocalizeFailed:    say("its image could not be brought to {node}", "see to the store and the way to it"+triedAgain),
	api.ReasonImageCorrupt:      say("what arrived of image {tag} on {node} is not what its manifest says", pushAnew),
	api.ReasonImagePullFailed:   say("Docker on {node} could not get image {tag}", "see what the registry says, and to its name and stormcell.docker.config on {node}"+triedAgain),
	api.ReasonDockerUnavailable: say("Docker does not answer on {node}", "install or start it there, or see to stormcell.docker.host"+triedAgain),
	api.ReasonDiskFull:          say("the disk of the image cache on {node} is full", "make room on the file system of storm.oci.resources.local.dir on {node}"+triedAgain),
	api.ReasonEvicted:           say("its image had to make room on {node} for another worker's", "make room on the file system of storm.oci.resources.local.dir on {node}"+triedAgain),
	api.ReasonMountFailed:       say("its layers could not be mounted on {node}", seeAgent),
	api.ReasonUserRefused:       say("{node} lets no worker run as user {user}", "make the user on {node}, have an admin see to min.user.id and banned.users in its worker-launcher.cfg, or make the worker anew with another spec.user"),
	api.ReasonGroupUnknown:      say("{node} does not know the group that the files of workers belong to", "create the group on {node}, or correct storm.worker-launcher.group in its worker-launcher.cfg"+triedAgain),
	api.ReasonBindSourceMissing: say("a directory that every worker gets is missing on {node}", "make it on {node}, or take it out of storm.oci.readonly.bindmounts or storm.oci.readwrite.bindmounts there"+triedAgain),
	api.ReasonStarting:          say("its image is on {node}, and its container is being made", waitFor),
	api.ReasonStartFailed:       say("its container could not be started on {node}", seeAgent),

	// What the node's agent says of the process.
	api.ReasonRunning:          running,
	api.ReasonCompleted:        ended,
	api.ReasonFailed:           ended,
	api.ReasonOOMKilled:        ended,
	api.ReasonCommandNotFound:  ended,
	api.ReasonCrashLoopBackOff: crashLoop,
	api.ReasonStopping:         stopping,
	api.ReasonRemoved:          say("it was deleted, and nothing of it is left on {node}", "wait for the manager to let the object go; if it lasts: kubectl -n {system} get deployments,pods"),
}

func notAllowed(Facts) (string, string) {
	return "image {tag} is not on the cluster's allowlist",
		"make it anew with an image that is allowed (kubectl storm images), or have an admin add this one to storm.oci.allowed.images in the manager's storm.yaml"
}

func scheduled(f Facts) (string, string) {
	if f.LeaseGone {
		return "it is bound to {node}, where no node-agent has spoken yet", "see whether one runs there: kubectl -n {system} get pods -o wide --field-selector spec.nodeName={node}"
	}
	return "it is bound to {node}, whose node-agent has not taken it up yet", "wait a moment; if it lasts, " + seeAgent
}

func nodeLost(f Facts) (string, string) {
	if f.NodeGone {
		return "its node {node} is gone from the cluster", "delete it, and make it anew: kubectl -n {namespace} delete stormworker {name}"
	}
	why := "the node-agent of {node} is silent"
	switch quiet, silent := f.silentFor(); {
	case f.LeaseGone:
		why = "the node-agent of {node} has no Lease any more"
	case silent:
		why = "the node-agent of {node} has been silent for " + quiet
	case f.Lease != nil:
		why = "the node-agent of {node} is back, and has not reported on it yet"
	}
	if f.Node != nil && !nodeReady(f.Node) {
		why += ", and the node is not ready either"
	}
	return why, "look at the node and its agent: kubectl describe node {node}; kubectl -n {system} get pods -o wide --field-selector spec.nodeName={node}"
}

// nodeReady tells whether a node's kubelet is ready; one without any is.
func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return true
}

func localizing(f Facts) (string, string) {
	why := "its image is being brought to {node}"
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
		why += "; it was started again " + times(status.RestartCount)
		if status.LastExit != nil {
			why += fmt.Sprintf(", last after it %s, %s ago", exitWords(status.LastExit, f.Worker), f.since(status.LastExit.FinishedAt))
			next = exitAdvice(status.LastExit, f.Worker)
		}
	}
	if c := meta.FindStatusCondition(status.Conditions, api.WorkerAdmitted); c != nil && c.Reason == api.ReasonImageNotAllowed {
		why += "; its image {tag} is not allowed any more, so once deleted it could not be made anew"
	}
	return why, next
}

func ended(f Facts) (string, string) {
	exit := f.Worker.Status.LastExit
	if exit == nil {
		return "it ended, and nobody saw how", "make it anew if it shall run"
	}
	return fmt.Sprintf("it %s, %s ago, and its restartPolicy %s does not start it again",
			exitWords(exit, f.Worker), f.since(exit.FinishedAt), f.Worker.Spec.RestartPolicy),
		exitAdvice(exit, f.Worker)
}

func crashLoop(f Facts) (string, string) {
	exit := f.Worker.Status.LastExit
	if exit == nil {
		return "it ended, and waits to be started again", waitFor
	}
	why := fmt.Sprintf("it %s, %s ago, and waits to be started again", exitWords(exit, f.Worker), f.since(exit.FinishedAt))
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
	return why, "wait: it gets spec.terminationGracePeriodSeconds to end, then it is killed; if it lasts, " + seeAgent
}

func times(n int32) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
