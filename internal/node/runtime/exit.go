package runtime

import "time"

// Exit is how a container ended.
type Exit struct {
	// Code is the exit code: 128 plus Signal where a signal ended it, and
	// UnknownCode where nobody was there to see it.
	Code int `json:"code"`
	// Signal is the number of the signal that ended it, or 0.
	Signal int `json:"signal,omitempty"`
	// OOMKilled is true if the kernel killed a process of it for its memory limit.
	OOMKilled bool `json:"oomKilled,omitempty"`
	// PidsLimited is true if it was denied a process or thread by its limit on them.
	PidsLimited bool `json:"pidsLimited,omitempty"`
	// StorageExceeded is true if it was ended because it took up more ephemeral storage
	// than it may.
	StorageExceeded bool `json:"storageExceeded,omitempty"`
	// Storage says what took up how much then, if that is known.
	Storage string `json:"storage,omitempty"`
	// At is when it ended.
	At time.Time `json:"at"`
}

// UnknownCode is the exit code of a container whose end nobody saw: its
// monitor was killed, or the machine was rebooted.
const UnknownCode = -1

const (
	// signalBase is what programs add to the number of the signal that ended a
	// process, to make an exit code of it.
	signalBase = 128
	// highestSignal is SIGRTMAX.
	highestSignal = 64
)

// ExitOf returns the Exit of a first process with this code: its own, or 128 plus the
// signal that ended it. A process that itself exits with such a code, as shells do for
// their children, cannot be distinguished from one that was killed.
func ExitOf(code int) Exit {
	exit := Exit{Code: code}
	if signal := code - signalBase; signal > 0 && signal <= highestSignal {
		exit.Signal = signal
	}
	return exit
}
