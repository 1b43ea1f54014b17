package netio_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"culvert/gateway/netio"
)

// listen opens a port whose connections belong to the shared Poller.
func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	ln, err := netio.Listen(t.Context(), addr, shared)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// accepted returns both sides of a connection to ln.
func accepted(t *testing.T, ln net.Listener, addr string) (*netio.TCPConn, *net.TCPConn) {
	t.Helper()
	client := dial(t, addr)
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return server.(*netio.TCPConn), client
}

// Both ends agree on the addresses, also where the port is open on all of them.
func TestAcceptedAddresses(t *testing.T) {
	for _, listenOn := range []string{"127.0.0.1:0", "[::1]:0", "0.0.0.0:0", ":0"} {
		t.Run(listenOn, func(t *testing.T) {
			ln := listen(t, listenOn)
			_, port, err := net.SplitHostPort(ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			host := "127.0.0.1"
			if listenOn == "[::1]:0" {
				host = "::1"
			}
			server, client := accepted(t, ln, net.JoinHostPort(host, port))
			if got, want := server.LocalAddr().String(), client.RemoteAddr().String(); got != want {
				t.Errorf("local address %s, the client sees %s", got, want)
			}
			if got, want := server.RemoteAddr().String(), client.LocalAddr().String(); got != want {
				t.Errorf("remote address %s, the client says %s", got, want)
			}
		})
	}
}

func TestListenerCloses(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	ended := make(chan error, 1)
	go func() { // ends with the listener; waited below
		_, err := ln.Accept()
		ended <- err
	}()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v, want net.ErrClosed", err)
	}
	if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: %v, want net.ErrClosed", err)
	}
	if _, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the port after Close: %v", err)
	}
}

// A Poller that is closed takes nobody, and closes whatever it has.
func TestPollerCloses(t *testing.T) {
	p, err := netio.NewPoller(1)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := netio.Listen(t.Context(), "127.0.0.1:0", p)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, client := accepted(t, ln, ln.Addr().String())
	p.Close()
	if n, err := client.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %d bytes, %v", n, err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v, want net.ErrClosed", err)
	}
}

// A process that has no descriptor left gets an error that package net calls temporary.
func TestAcceptWithoutDescriptors(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	dial(t, ln.Addr().String())
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := unix.Rlimit{Cur: 0, Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	_, err := ln.Accept()
	if restore := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); restore != nil {
		t.Fatal(restore)
	}
	var passing net.Error
	if !errors.Is(err, syscall.EMFILE) || !errors.As(err, &passing) || !passing.Temporary() { //nolint:staticcheck // what the accept loop asks
		t.Fatalf("%v, want EMFILE that is temporary", err)
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatalf("with descriptors again: %v", err)
	}
	_ = c.Close()
}

// Serve calls for each connection, ends when accepting fails, and can be called again.
func TestServe(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	came := make(chan net.Conn)
	ended := make(chan error, 1)
	serve := func() {
		go func() { // ends with an error; waited by the receiver
			ended <- ln.(interface {
				Serve(handle func(net.Conn)) error
			}).Serve(func(c net.Conn) { came <- c })
		}()
	}
	var clients []net.Conn
	for range 40 { // more than one turn takes
		clients = append(clients, dial(t, ln.Addr().String()))
	}
	serve()
	seen := make(map[string]bool)
	for range clients {
		c := <-came
		seen[c.RemoteAddr().String()] = true
		_ = c.Close()
	}
	for _, c := range clients {
		if !seen[c.LocalAddr().String()] {
			t.Errorf("%v was not accepted", c.LocalAddr())
		}
	}

	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) // for who comes when there are no more
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	none := unix.Rlimit{Cur: 0, Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	to := ln.Addr().(*net.TCPAddr)
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())})
	failed := <-ended
	if restore := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); restore != nil {
		t.Fatal(restore)
	}
	if err != nil || !errors.Is(failed, syscall.EMFILE) {
		t.Fatalf("connect: %v, Serve: %v, want EMFILE", err, failed)
	}
	serve()
	_ = (<-came).Close()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve after Close: %v, want net.ErrClosed", err)
	}
}

func TestDialParks(t *testing.T) {
	c, s := dialled(t, shared)
	g := &guest{conn: c, pool: pool(8)}
	if !c.Park(g.step, g.gone) {
		t.Fatal("not parked")
	}
	send(t, s, "abc")
	g.awaitBytes(t, "abc")
}

// A deadline that is set, moved or cleared while a reader waits counts for this reader.
func TestDeadlineOfAWaitingReader(t *testing.T) {
	server, client := tcpPair(t)
	read := func() chan error {
		ended := make(chan error, 1)
		go func() { // ends with a deadline or a byte; received by the caller
			_, err := server.Read(make([]byte, 1))
			ended <- err
		}()
		return ended
	}
	set := func(at time.Time) {
		t.Helper()
		if err := server.SetReadDeadline(at); err != nil {
			t.Fatal(err)
		}
	}
	ended := read()
	set(time.Now().Add(time.Hour))
	set(time.Now().Add(10 * time.Millisecond))
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline that came nearer: %v", err)
	}
	soon := time.Now().Add(20 * time.Millisecond)
	set(soon)
	ended = read()
	set(time.Now().Add(time.Hour))
	set(time.Time{})
	other, _ := tcpPair(t)
	if err := other.SetReadDeadline(soon); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	select {
	case err := <-ended: // the deadline has passed for the other one
		t.Fatalf("a deadline that was cleared: %v", err)
	default:
	}
	send(t, client, "x")
	if err := <-ended; err != nil {
		t.Errorf("after the byte: %v", err)
	}
	set(time.Unix(1, 0))
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline long ago: %v", err)
	}
}

// The descriptor outlives Close for as long as a call uses it, and no longer.
func TestCloseWaitsForCalls(t *testing.T) {
	server, client := tcpPair(t)
	raw, err := server.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if _, err := unix.Getpeername(int(fd)); err != nil {
			t.Errorf("the descriptor is gone: %v", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(uintptr) { t.Error("a descriptor after Close") }); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Control after Close: %v", err)
	}
	if err := server.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	if n, err := client.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %d bytes, %v", n, err)
	}
}

// Connections that come and go get descriptors that others had; no event of the former
// is lost on the latter, and none is taken for them.
func TestDescriptorsAreUsedAgain(t *testing.T) {
	ln := listen(t, "127.0.0.1:0")
	const clients, rounds = 8, 200
	var work sync.WaitGroup
	work.Go(func() { // ends with the last connection; waited below
		for range clients * rounds {
			c, err := ln.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			work.Go(func() { // ends with the client; waited below
				defer c.Close()
				b := make([]byte, 4)
				if _, err := io.ReadFull(c, b); err != nil {
					t.Errorf("read: %v", err)
					return
				}
				if _, err := c.Write(b); err != nil {
					t.Errorf("write: %v", err)
				}
			})
		}
	})
	for i := range clients {
		work.Go(func() { // ends after its rounds; waited below
			for j := range rounds {
				if err := echo(ln.Addr().String(), []byte{byte(i), byte(j), 2, 3}); err != nil {
					t.Errorf("client %d, round %d: %v", i, j, err)
				}
			}
		})
	}
	work.Wait()
}

// echo sends b in two pieces over a connection of its own and wants it back.
func echo(addr string, b []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	for _, piece := range [][]byte{b[:1], b[1:]} {
		if _, err := c.Write(piece); err != nil {
			return err
		}
	}
	got := make([]byte, len(b))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != string(b) {
		return errors.New("other bytes came back")
	}
	return nil
}
