package explain

import (
	"fmt"

	api "github.com/stormcell/stormcell/api/v1alpha1"
)

// Exit codes that say more than that something went wrong.
const (
	codeUnknown       = -1
	codeNotExecutable = 126
	codeNotFound      = 127
	// codeSignal plus the number of a signal is the exit code of a shell whose
	// command was killed by that signal.
	codeSignal = 128
	maxSignal  = 64
	sigKill    = 9
)

// signals are the names of the signals that end processes, by their numbers in
// Linux, where workers run, whatever this runs on.
var signals = map[int32]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
	sigKill: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 31: "SIGSYS",
}

func signal(n int32) string {
	if name, ok := signals[n]; ok {
		return fmt.Sprintf("signal %d (%s)", n, name)
	}
	return fmt.Sprintf("signal %d", n)
}

// exitWords returns how a worker ended, to follow "it".
func exitWords(e *api.WorkerExit, w *api.StormWorker) string {
	switch {
	case e.EphemeralStorageExceeded:
		return "was ended because it took up more ephemeral storage than it may"
	case e.OOMKilled && e.Signal == sigKill:
		return "was killed by the kernel for its memory limit" + memoryLimit(w, " of ")
	case e.OOMKilled:
		return fmt.Sprintf("ended with exit code %d after the kernel had killed one of its processes for its memory limit%s", e.ExitCode, memoryLimit(w, " of "))
	case e.Signal != 0:
		return "was killed by " + signal(e.Signal)
	case e.ExitCode == 0:
		return "ended by itself with exit code 0"
	case e.ExitCode == codeUnknown:
		return "ended unobserved, so its exit code is unknown"
	case e.ExitCode == codeNotFound:
		return "ended with exit code 127 (a program was not found)"
	case e.ExitCode == codeNotExecutable:
		return "ended with exit code 126 (a program could not be executed)"
	case e.ExitCode > codeSignal && e.ExitCode <= codeSignal+maxSignal:
		return fmt.Sprintf("ended with exit code %d (one of its processes was killed by %s)", e.ExitCode, signal(e.ExitCode-codeSignal))
	default:
		return fmt.Sprintf("ended with exit code %d", e.ExitCode)
	}
}

// exitAdvice returns what to do about a worker that ended so.
func exitAdvice(e *api.WorkerExit, w *api.StormWorker) string {
	switch {
	case e.OOMKilled:
		return "create it again with a spec.resources.limits.memory" + memoryLimit(w, " above ") + ", or give its JVM a smaller heap (-Xmx)"
	case e.ExitCode == 0:
		return "nothing, if its work is done; kubectl storm -n {namespace} logs {name} shows its last output"
	case e.ExitCode == codeUnknown:
		return "check whether {node} was rebooted, or the container's monitor was killed there"
	case e.ExitCode == codeNotFound:
		return "check whether {program} is in the image's PATH or in a bind mount; kubectl storm -n {namespace} logs {name} shows which program it was"
	case e.ExitCode == codeNotExecutable:
		return "check the mode of {program} in the image; kubectl storm -n {namespace} logs {name} shows which program it was"
	default:
		return "read its last output: kubectl storm -n {namespace} logs {name}"
	}
}

// memoryLimit returns the worker's limit after a word, if it has one.
func memoryLimit(w *api.StormWorker, word string) string {
	if limit := w.Spec.Resources.Limits.Memory; limit != nil {
		return word + limit.String()
	}
	return ""
}
