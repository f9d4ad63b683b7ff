// worker is a StormWorker that works against its node. Its first argument names
// the attack. Every line that it prints says what came of one attempt: "held",
// with why, or "ESCAPED".
package main

import (
	"fmt"
	"os"
	"syscall"
)

// attacks are by name what the worker can do. Each prints what came of it, and
// either ends the process or stays until somebody else does.
var attacks = map[string]func(args []string) error{
	"give":     give,
	"swap":     swap,
	"listen":   listen,
	"fill":     fill,
	"files":    files,
	"unlinked": unlinked,
	"mapped":   mapped,
	"probe":    probe,
	"plant":    plant,
	"jvm":      jvm,
	"jcmd":     jcmd,
	"flood":    flood,
}

func main() {
	if os.Geteuid() == 0 {
		fmt.Println("FAILED: as root this would succeed: it is for workers only")
		os.Exit(2)
	}
	if len(os.Args) < 2 || attacks[os.Args[1]] == nil {
		fmt.Println("FAILED: name an attack")
		os.Exit(2)
	}
	if err := attacks[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Println("FAILED:", err)
		os.Exit(1)
	}
}

func held(format string, args ...any)    { fmt.Printf("held: "+format+"\n", args...) }
func escaped(format string, args ...any) { fmt.Printf("ESCAPED: "+format+"\n", args...) }

// stay waits for the end.
func stay() {
	for {
		_ = syscall.Pause() // it returns with each signal that is ignored
	}
}
