//go:build interop

package interop_test

import (
	"fmt"
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

// nginxModule returns the path of a module that Debian packages by itself.
func nginxModule(name string) string { return "/usr/lib/nginx/modules/ngx_" + name + "_module.so" }

// serveNginx starts nginx. Its players are told when a publisher comes and goes, and begin at a key frame.
func serveNginx(t *testing.T) *nginx {
	t.Helper()
	need(t, "nginx")
	if _, err := os.Stat(nginxModule("rtmp")); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("nginx has no RTMP: apt-get install libnginx-mod-rtmp")
		}
		t.Skip("nginx has no RTMP: apt-get install libnginx-mod-rtmp")
	}
	n := &nginx{addr: reserve(t), proxied: reserve(t), log: filepath.Join(t.TempDir(), "access.log")}
	server := " server { listen %s; chunk_size 4096; ping 0; application live { live on; wait_key on; wait_video on; publish_notify on; sync 0; } application other { live on; wait_key on; publish_notify on; } }\n"
	n.process = startNginx(t, "rtmp", fmt.Sprintf("events { worker_connections 1024; }\nrtmp { access_log %s;\n"+server+server+"}\n", n.log, n.addr, n.proxied+" proxy_protocol"), n.addr)
	return n
}

// startNginx starts nginx with a configuration that runs as this user in a directory of its own, with a module if there is one, and waits until it listens.
func startNginx(t *testing.T, module, text string, addrs ...string) *process {
	t.Helper()
	dir := t.TempDir()
	head := "daemon off; master_process off; error_log stderr notice; pid " + dir + "/pid;\n"
	if _, err := os.Stat(nginxModule(module)); err == nil {
		head += "load_module " + nginxModule(module) + ";\n"
	}
	web := "access_log off;"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		web += " " + kind + "_temp_path " + dir + "/" + kind + ";"
	}
	path := filepath.Join(dir, "nginx.conf")
	write(t, path, head+strings.Replace(text, "\nhttp {", "\nhttp { "+web, 1))
	return startListening(t, []string{"nginx", "-p", dir, "-e", "stderr", "-c", path}, addrs...)
}

// logged waits until the access log has a line with all the words, and returns it.
func (n *nginx) logged(t *testing.T, words ...string) (line string) {
	t.Helper()
	eventually(t, fmt.Sprintf("a line with %q in nginx's log", words), func() bool {
		text, err := os.ReadFile(n.log)
		if err != nil {
			return false
		}
		lines := linesWith(string(text), words...)
		if len(lines) > 0 {
			line = lines[0]
		}
		return line != ""
	})
	return line
}
