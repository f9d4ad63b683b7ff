package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"runtime"

	gorunc "github.com/containerd/go-runc"

	"github.com/stormcell/stormcell/internal/node/program"
)

// go-runc has one Monitor for the whole process, without a lock. It is set
// before main begins and never again, so no call can meet another one. Only
// this package may import go-runc (see the linter's configuration): nobody else
// can replace it, and it judges nobody else's calls.
func init() { gorunc.Monitor = monitor{} }

// errPiped is a command whose output go-runc reads itself, without a limit and
// perhaps in another goroutine, such as Events.
var errPiped = errors.New("its output is not bounded: give it no pipe")

// monitor runs go-runc's commands. It makes up for what go-runc v1.2.1 lacks:
//   - A command gets the agent's whole environment. Here it gets program.Environment.
//   - Setpgid makes a group, but the end of the context kills only its leader,
//     and a child that holds the output open is waited for without limit.
//   - The output is kept whole, however much it is.
//   - stderr is dropped, or mixed into the JSON on stdout.
//   - The default monitor turns every failure of exec into status 255.
//
// Wait does the waiting, so go-runc's channel of exits is not used. StartLocked
// and Wait are called by one goroutine, one after the other.
type monitor struct{}

// Start is StartLocked, since every command gets a death signal. So go-runc's
// own fields for that and for the group are not set.
func (m monitor) Start(cmd *exec.Cmd) (chan gorunc.Exit, error) { return m.StartLocked(cmd) }

// StartLocked starts the program and locks the thread until Wait.
func (monitor) StartLocked(cmd *exec.Cmd) (chan gorunc.Exit, error) {
	stdout, ok := cmd.Stdout.(*bytes.Buffer)
	if !ok {
		return nil, errPiped
	}
	cmd.Stdout = program.NewOutput(stdout, program.MaxOutput)
	cmd.Stderr = program.NewOutput(new(bytes.Buffer), program.MaxMessage)
	program.Confine(cmd)
	runtime.LockOSThread()
	if err := cmd.Start(); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	return nil, nil //nolint:nilnil // Wait needs no channel
}

// Wait waits for the program. Its error says how the program ended, and then
// what it printed to stderr.
func (monitor) Wait(cmd *exec.Cmd, _ chan gorunc.Exit) (int, error) {
	defer runtime.UnlockOSThread()
	stdout, _ := cmd.Stdout.(*program.Output) // as StartLocked left it
	stderr, _ := cmd.Stderr.(*program.Output)
	err := cmd.Wait()
	if err == nil && stdout.Full() {
		err = fmt.Errorf("printed more than %d bytes", program.MaxOutput)
	}
	if err == nil {
		return 0, nil
	}
	stdout.Reset() // go-runc would repeat it in the error, in whole
	if text := stderr.String(); text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return cmd.ProcessState.ExitCode(), err
}
