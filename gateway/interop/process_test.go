//go:build interop

package interop_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that takes a moment: a port, a first frame, an end.
// A whole matrix shares two cores in CI, so it is long; nothing waits that long when all is well.
const patience = 60 * time.Second

// process is a running client or gateway. It ends with its test at the latest.
type process struct {
	name string
	cmd  *exec.Cmd
	out  *tail         // what it wrote to stdout and stderr
	done chan struct{} // closed when it has ended
	err  error         // of cmd.Wait; valid once done is closed
}

type option func(*process)

// env sets environment variables, "NAME=value".
func env(vars ...string) option {
	return func(p *process) { p.cmd.Env = append(p.cmd.Env, vars...) }
}

// onLine is told every line the process writes to stdout or stderr.
func onLine(f func(line string)) option {
	return func(p *process) { p.out.onLine = f }
}

// input is what the process reads.
func input(r io.Reader) option {
	return func(p *process) { p.cmd.Stdin = r }
}

// start runs a program. The name is for messages.
func start(t *testing.T, name string, args []string, options ...option) *process {
	t.Helper()
	p := &process{name: name, out: &tail{}, done: make(chan struct{})}
	// Not t.Context: it ends before the cleanup that stops the process in good order.
	p.cmd = exec.CommandContext(context.Background(), args[0], args[1:]...)
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + scratch, "LANG=C", "GST_REGISTRY=" + filepath.Join(scratch, "gst-registry.bin")}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.WaitDelay = 5 * time.Second
	for _, o := range options {
		o(p)
	}
	if err := spawn(p.cmd); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	// stopped by the end of the process, which the cleanup brings about; waited by the cleanup
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("--- %s: %s\n%s", name, strings.Join(p.cmd.Args, " "), p.out)
		}
	})
	return p
}

// wait waits for the end of the process and fails the test unless its exit code is one of codes (0 if none is given).
func (p *process) wait(t *testing.T, codes ...int) {
	t.Helper()
	p.waitWithin(t, patience, codes...)
}

// waitWithin is wait for a process that takes its time.
func (p *process) waitWithin(t *testing.T, limit time.Duration, codes ...int) {
	t.Helper()
	if len(codes) == 0 {
		codes = []int{0}
	}
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case <-p.done:
	case <-timeout.C:
		p.kill()
		t.Fatalf("%s: still running after %v, ended by force", p.name, limit)
	}
	var exit *exec.ExitError
	if p.err != nil && !errors.As(p.err, &exit) {
		t.Fatalf("%s: %v", p.name, p.err)
	}
	if code := p.cmd.ProcessState.ExitCode(); !slices.Contains(codes, code) {
		t.Errorf("%s: %v, want exit code %v; its last words:\n%s", p.name, p.cmd.ProcessState, codes, p.out.last(10))
	}
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// requireRunning fails the test when the process has ended.
func (p *process) requireRunning(t *testing.T) {
	t.Helper()
	if !p.running() {
		t.Fatalf("%s ended early: %v\n%s", p.name, p.cmd.ProcessState, p.out)
	}
}

// requireRefused waits for the end of a process, which must be a bad one.
func (p *process) requireRefused(t *testing.T) {
	t.Helper()
	eventually(t, "the end of "+p.name, func() bool { return !p.running() })
	if p.cmd.ProcessState.Success() {
		t.Errorf("%s ended well", p.name)
	}
}

// signal sends a signal to this process and nothing else.
func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("%s: %v: %v", p.name, s, err)
	}
}

// kill ends the process by force, also a stopped one, and waits for its end.
func (p *process) kill() {
	if p.running() {
		_ = p.cmd.Process.Kill() // fails only when it has just ended by itself
	}
	<-p.done
}

// run runs a program to its end, which must be a good one, and returns its output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	p := start(t, name, args)
	p.wait(t)
	return p.out.String()
}

// reservedHost is where servers listen that cannot choose a port themselves: nobody else uses this host's ports.
const reservedHost = "127.0.1.2"

// reserve returns an address that is free to listen on.
func reserve(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", reservedHost+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startListening starts a server of others and waits until it listens.
func startListening(t *testing.T, args []string, addrs ...string) *process {
	t.Helper()
	p := start(t, args[0], args)
	for _, addr := range addrs {
		p.awaitListening(t, addr)
	}
	return p
}

// awaitListening waits until a server takes connections.
func (p *process) awaitListening(t *testing.T, addr string) {
	t.Helper()
	eventually(t, p.name+" to listen on "+addr, func() bool {
		p.requireRunning(t)
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}

// eventually polls until ok or patience ends; what is for the message.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout.C:
			t.Fatalf("waited %v in vain for: %s", patience, what)
		}
	}
}

// tail keeps the last lines of what a process writes.
type tail struct {
	onLine func(string) // may be nil; called with mu held

	mu      sync.Mutex
	partial strings.Builder
	lines   []string
}

const tailLines = 400

func (o *tail) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range b {
		// Progress lines end with CR: only the newest is worth keeping, and it is never the cause of anything.
		switch c {
		case '\n':
			o.keep(o.partial.String())
			o.partial.Reset()
		case '\r':
			o.partial.Reset()
		default:
			o.partial.WriteByte(c)
		}
	}
	return len(b), nil
}

func (o *tail) keep(line string) {
	if len(o.lines) >= tailLines {
		o.lines = slices.Delete(o.lines, 0, tailLines/4)
	}
	o.lines = append(o.lines, line)
	if o.onLine != nil {
		o.onLine(line)
	}
}

func (o *tail) last(n int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := o.lines
	if o.partial.Len() > 0 {
		lines = append(slices.Clone(lines), o.partial.String())
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func (o *tail) String() string { return o.last(tailLines) }
