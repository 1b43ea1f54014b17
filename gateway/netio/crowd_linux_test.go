package netio_test

import (
	"errors"
	"runtime"
	"syscall"
	"testing"
	"time"

	"culvert/gateway/netio"
)

// With a crowd at the door the shard waits without the runtime, and with nobody there it
// does not: everybody is served in both states and across the changes.
func TestCrowd(t *testing.T) {
	if runtime.GOMAXPROCS(0) == 1 {
		t.Skip("a shard that is alone never lingers")
	}
	p := poller(t, 1)
	settled, client := dialled(t, p)
	served := make(chan bool, 1) // whether the shard lingered
	settled.Park(reportLingering(settled, served), func() {})
	for range 2 {
		awaitLingering(t, true, func() bool { return serveNewcomer(t, p) })
		send(t, client, "x")
		<-served
		awaitLingering(t, false, func() bool {
			send(t, client, "x")
			return <-served
		})
	}
}

// A shard ends while there is a crowd.
func TestCrowdAtClose(t *testing.T) {
	p, err := netio.NewPoller(1)
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan struct{})
	go func() { defer close(ran); p.Run() }() // stopped by Close; waited below
	for range 100 {
		serveNewcomer(t, p)
	}
	p.Close()
	<-ran
}

// serveNewcomer brings a newcomer, waits until it is served, and reports whether the shard
// lingered.
func serveNewcomer(t *testing.T, p *netio.Poller) bool {
	t.Helper()
	server, client := pairOf(t, p)
	defer server.Close()
	defer client.Close()
	served := make(chan bool, 1)
	server.Park(reportLingering(server, served), func() {})
	send(t, client, "x")
	return <-served
}

// reportLingering returns a step that says for each byte whether the shard lingered.
func reportLingering(c *netio.TCPConn, served chan<- bool) func() bool {
	return func() bool {
		_, err := c.TryReadTo(make([]byte, 1))
		if err == nil {
			served <- c.Lingers()
		}
		return err == nil || errors.Is(err, syscall.EAGAIN)
	}
}

// awaitLingering brings events until the shard lingers, or does not.
func awaitLingering(t *testing.T, want bool, event func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); event() != want; {
		if time.Now().After(end) {
			t.Fatalf("lingering never became %v", want)
		}
	}
}
