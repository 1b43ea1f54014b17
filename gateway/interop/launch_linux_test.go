//go:build interop

package interop_test

import (
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"syscall"
	"testing"
)

// launches are the programs that the launching thread is to start.
var launches = make(chan launch)

type launch struct {
	cmd     *exec.Cmd
	started chan<- error
}

// launching runs the tests beside a thread that starts their programs. The kernel ends
// those with it, so that none survives tests that end by force or by their time limit,
// without their cleanups. Any other thread might end before its programs should.
type launching struct{ *testing.M }

func (l launching) Run() (code int) {
	ended := make(chan struct{})
	go func() { // stopped by closing launches after the last test; waited below
		defer close(ended)
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		for l := range launches {
			if l.cmd.SysProcAttr == nil {
				l.cmd.SysProcAttr = &syscall.SysProcAttr{}
			}
			l.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
			l.started <- l.cmd.Start()
		}
	}()
	code = l.M.Run()
	close(launches)
	<-ended
	return code
}

// spawn starts a program that does not outlive the tests.
func spawn(cmd *exec.Cmd) error {
	started := make(chan error)
	launches <- launch{cmd, started}
	return <-started
}

// as runs a program as a user where the tests are root's. One that becomes that user by
// itself needs it: the change unties it from the thread that started it.
func as(t *testing.T, name string) option {
	t.Helper()
	if os.Geteuid() != 0 {
		return func(*process) {}
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return func(p *process) {
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
}
