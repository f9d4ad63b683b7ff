package main

import (
	"context"
	"fmt"
	"net"
	"time"
)

// listen takes an address as soon as nobody else has it, and keeps it.
func listen(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("listen ADDRESS, not %q", args)
	}
	for {
		_, err := new(net.ListenConfig).Listen(context.Background(), "tcp", args[0])
		if err == nil {
			fmt.Println("listening")
			stay()
		}
		<-time.After(time.Millisecond)
	}
}
