// guest is the program that the tests run in containers. It is built static,
// so its root file system needs nothing else.
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	switch verb, args := os.Args[1], os.Args[2:]; verb {
	case "exit":
		fmt.Println("out: bye")
		fmt.Fprintln(os.Stderr, "err: bye")
		code, _ := strconv.Atoi(args[0])
		os.Exit(code)
	case "sleep":
		pause()
	case "repeat": // what it reads, and exits with 7
		text, err := io.ReadAll(os.Stdin)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s|%s", os.Getenv("PATH"), text)
		os.Exit(7)
	case "forever": // ignores SIGTERM
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		pause()
	case "trap": // exits with 42 on SIGTERM
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("ready")
		<-c
		os.Exit(42)
	case "parent": // a child that leaves its session and ignores signals
		child := exec.Command("/bin/guest", "forever")
		child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			panic(err)
		}
		pause()
	case "eat": // memory, until killed
		var kept [][]byte
		for {
			page := make([]byte, 1<<20)
			for i := range page {
				page[i] = 1
			}
			kept = append(kept, page)
		}
	case "calls": // tries system calls with arguments that none of them takes
		calls()
	case "feed": // memory to a child, until that is killed
		child := exec.Command("/bin/guest", "eat")
		child.Run()
		os.Exit(5)
	case "multiply": // as many processes as it gets
		for {
			child := exec.Command("/bin/guest", "sleep")
			if err := child.Start(); err != nil {
				os.Exit(9)
			}
			fmt.Println("ready")
		}
	case "talk": // lines of 100 bytes
		n, _ := strconv.Atoi(args[0])
		for range n {
			fmt.Println(strings.Repeat("x", 99))
		}
	case "count": // n numbered lines of 100 bytes on each SIGHUP
		n, _ := strconv.Atoi(args[0])
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGHUP)
		fmt.Println("ready")
		for i := 0; ; i += n {
			<-c
			for j := range n {
				fmt.Printf("%098d!\n", i+j)
			}
		}
	case "raise": // ends itself by a signal; as pid 1 only a child can
		child := exec.Command("/bin/guest", "sleep")
		if err := child.Start(); err != nil {
			panic(err)
		}
		child.Process.Kill()
		child.Wait()
		os.Exit(128 + 9)
	}
}

// pause waits for signals only.
func pause() {
	for {
		if err := syscall.Pause(); err != syscall.EINTR {
			panic(err)
		}
	}
}
