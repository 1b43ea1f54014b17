package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Server is a server that this program has started. Stop ends it.
type Server struct {
	Name  string
	PID   int
	addrs map[string]string // transport to host:port

	cmd  *exec.Cmd
	dir  string // its files, removed by Stop
	done chan struct{}
	mu   sync.Mutex
	tail []string // guarded by mu: the last lines it wrote
}

// tailLines is how many lines of a server's output are kept for messages.
const tailLines = 5

// URL returns the address of a stream at the server, "" if it does not speak the
// transport.
func (s *Server) URL(transport, stream string) string {
	addr, ok := s.addrs[transport]
	if !ok {
		return ""
	}
	return transport + "://" + addr + "/live/" + stream
}

// Stop ends the server and waits for its end.
func (s *Server) Stop() {
	if runtime.GOOS == "windows" || s.cmd.Process.Signal(os.Interrupt) != nil {
		_ = s.cmd.Process.Kill() // it has ended by itself otherwise
	}
	over := time.AfterFunc(patience, func() { _ = s.cmd.Process.Kill() }) // stopped below
	<-s.done
	over.Stop()
	os.RemoveAll(s.dir)
}

// start starts a program that owns a directory, and waits until it is ready:
// until ready returns true for a line of its output, or until it listens on the
// address given, whichever is not zero.
func start(ctx context.Context, name, dir string, env, args []string, ready func(line string) bool, listens string) (*Server, error) {
	s := &Server{Name: name, dir: dir, done: make(chan struct{}), addrs: map[string]string{}}
	s.cmd = exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...) // Stop ends it, in good order
	s.cmd.Env = append(os.Environ(), env...)
	r, w, err := os.Pipe()
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	s.cmd.Stdout, s.cmd.Stderr = w, w
	err = s.cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		os.RemoveAll(dir)
		return nil, err
	}
	s.PID = s.cmd.Process.Pid
	isReady := make(chan struct{})
	go func() { // stopped by the end of the process, waited by Stop
		defer close(s.done)
		defer r.Close()
		waiting := true
		lines := bufio.NewReader(r)
		for {
			line, err := lines.ReadString('\n')
			s.note(line)
			if waiting && ready != nil && ready(line) {
				waiting = false
				close(isReady)
			}
			if err != nil {
				break
			}
		}
		_ = s.cmd.Wait() // how it ended shows in its output
	}()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for err == nil {
		select {
		case <-isReady:
			return s, nil
		case <-again.C:
			if listens != "" && answers(ctx, listens) {
				return s, nil
			}
		case <-s.done:
			err = errors.New("ended at once")
		case <-timeout.C:
			err = errors.New("is not ready in time")
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	s.Stop()
	return nil, fmt.Errorf("%s: %w: %s", name, err, s.last())
}

// answers reports whether something listens on addr.
func answers(ctx context.Context, addr string) bool {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func (s *Server) note(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if line = strings.TrimSpace(line); line != "" {
		s.tail = append(s.tail[max(0, len(s.tail)-tailLines+1):], line)
	}
}

func (s *Server) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.tail, " | ")
}

// SpawnGateway starts `culvert serve` from the given binary on free ports of
// loopback. config is a file or "", env what to add to the environment.
func SpawnGateway(ctx context.Context, binary, config string, env ...string) (*Server, error) {
	dir, err := os.MkdirTemp("", "culvert-bench-")
	if err != nil {
		return nil, err
	}
	args := []string{binary, "serve", "--rtmp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--admin", ""}
	if config != "" {
		args = append(args, "--config", config)
	}
	env = append([]string{"CULVERT_LOG_FORMAT=json", "CULVERT_TLS_STORAGE=" + dir}, env...)
	addrs := map[string]string{}
	s, err := start(ctx, "culvert", dir, env, args, func(line string) bool {
		var entry struct{ Message, Listener, Addr string }
		if json.Unmarshal([]byte(line), &entry) != nil {
			return false
		}
		if entry.Message == "listening" {
			addrs[entry.Listener] = entry.Addr
		}
		return entry.Message == "ready"
	}, "")
	if err != nil {
		return nil, err
	}
	s.addrs = map[string]string{"rtmp": addrs["rtmp"], "rtmpt": addrs["http"], "rtmps": addrs["https"], "rtmpts": addrs["https"]}
	return s, nil
}

// FloorReady is what a floor process says first, with its address behind it.
const FloorReady = "floor listens on "

// SpawnFloor starts a floor from the given binary of culvert.
func SpawnFloor(ctx context.Context, binary, kind string) (*Server, error) {
	var addr string
	s, err := start(ctx, kind, "", nil, []string{binary, "bench", "floor", kind, "--listen", "127.0.0.1:0"}, func(line string) bool {
		rest, ok := strings.CutPrefix(line, FloorReady)
		addr = strings.TrimSpace(rest)
		return ok
	}, "")
	if err != nil {
		return nil, err
	}
	for _, transport := range map[string][]string{
		FloorTLS:     {"rtmps", "rtmpts"},
		FloorNetHTTP: {"rtmpt"},
		FloorCanned:  {"rtmpt"},
		FloorWrite:   {"rtmp", "rtmpt"},
		FloorVideo:   {"rtmp"},
		FloorMerge:   {"rtmp"},
	}[kind] {
		s.addrs[transport] = addr
	}
	return s, nil
}

// nginxConfig is nginx with its RTMP module as it comes, one worker.
const nginxConfig = `%s
daemon off; worker_processes 1; worker_rlimit_nofile 65536; pid nginx.pid; error_log stderr warn;
events { worker_connections 16384; }
rtmp { access_log off; server { listen 127.0.0.1:%s; application live { live on; } } }
`

// nginxModule is where Debian puts the module.
const nginxModule = "/usr/lib/nginx/modules/ngx_rtmp_module.so"

// SpawnNginx starts nginx with nginx-rtmp-module from the given binary.
func SpawnNginx(ctx context.Context, binary string) (*Server, error) {
	addr, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "culvert-bench-")
	if err != nil {
		return nil, err
	}
	load := ""
	if _, err := os.Stat(nginxModule); err == nil {
		load = "load_module " + nginxModule + ";"
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, nginxConfig, load, port), 0o600); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	s, err := start(ctx, "nginx-rtmp", dir, nil, []string{binary, "-p", dir, "-c", file, "-e", "stderr"}, nil, addr)
	if err != nil {
		return nil, err
	}
	s.addrs["rtmp"] = addr
	return s, nil
}

// freeAddress returns a loopback address with a port that was free just now.
func freeAddress(ctx context.Context) (string, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}
