//go:build interop

package interop_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// nginx is a server with nginx-rtmp-module to stand in front of.
type nginx struct {
	*process
	addr    string // RTMP
	proxied string // RTMP behind a PROXY protocol header of version 1
	log     string // path of its access log
}

const nginxModule = "/usr/lib/nginx/modules/ngx_rtmp_module.so"

// serveNginx starts nginx. Its players are told when a publisher comes and goes, and begin at a key frame.
func serveNginx(t *testing.T) *nginx {
	t.Helper()
	need(t, "nginx")
	if _, err := os.Stat(nginxModule); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("nginx has no RTMP: apt-get install libnginx-mod-rtmp")
		}
		t.Skip("nginx has no RTMP: apt-get install libnginx-mod-rtmp")
	}
	dir := t.TempDir()
	n := &nginx{addr: freeAddr(t), proxied: freeAddr(t), log: filepath.Join(dir, "access.log")}
	config := filepath.Join(dir, "nginx.conf")
	server := "{ listen %s; chunk_size 4096; ping 0; application live { live on; wait_key on; wait_video on; publish_notify on; sync 0; } application other { live on; wait_key on; publish_notify on; } }\n"
	write(t, config, fmt.Sprintf("daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log info;\n"+
		"load_module %[2]s;\nevents { worker_connections 1024; }\nrtmp { access_log %[3]s;\n server "+server+" server "+server+"}\n",
		dir, nginxModule, n.log, n.addr, n.proxied+" proxy_protocol"))
	n.process = start(t, "nginx", []string{"nginx", "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", config})
	awaitPort(t, n.addr)
	return n
}

// freeAddr returns an address on which nothing listens, for servers that cannot choose one themselves.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// awaitPort waits until something listens.
func awaitPort(t *testing.T, addr string) {
	t.Helper()
	eventually(t, "a listener on "+addr, func() bool {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}

// logged waits until the access log has a line with all the words, and returns it.
func (n *nginx) logged(t *testing.T, words ...string) (line string) {
	t.Helper()
	eventually(t, fmt.Sprintf("a line with %q in nginx's log", words), func() bool {
		text, err := os.ReadFile(n.log)
		if err != nil {
			return false
		}
	lines:
		for line = range strings.Lines(string(text)) {
			for _, w := range words {
				if !strings.Contains(line, w) {
					continue lines
				}
			}
			return true
		}
		return false
	})
	return line
}
