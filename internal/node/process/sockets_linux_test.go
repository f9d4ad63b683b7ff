package process

import (
	"net"
	"os"
	"testing"
)

func TestListeners(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::]:0"} {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		sockets, err := Listeners(port)
		if err != nil || len(sockets) != 1 {
			t.Errorf("%s: sockets %v, %v, want one", l.Addr(), sockets, err)
		}
		if !Has(os.Getpid(), sockets) || Has(1, sockets) {
			t.Errorf("%s is not known to be this process's alone", l.Addr())
		}
		l.Close()
		if sockets, err := Listeners(port); err != nil || len(sockets) != 0 {
			t.Errorf("%s is closed: sockets %v, %v", l.Addr(), sockets, err)
		}
	}
}

func TestListenerLine(t *testing.T) {
	const line = "   0: 0100007F:2379 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20486 1 0 100 0 0 10 0"
	if inode, ok := listener(line, 0x2379); !ok || inode != "20486" {
		t.Errorf("%q, %v", inode, ok)
	}
	for _, other := range []string{
		"", "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
		"   0: 0100007F:2379 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 20486 1 0 100 0 0 10 0", // established
		"   0: 0100007F:237A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20486 1 0 100 0 0 10 0", // another port
		"   0: nonsense 00000000:0000 0A 0 0 0 0 0 20486",
	} {
		if _, ok := listener(other, 0x2379); ok {
			t.Errorf("taken for a listener: %q", other)
		}
	}
}
