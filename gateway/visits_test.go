package gateway_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"culvert/configs"
	"culvert/gateway"
)

// TestHeadsOfPages sends request heads at the limits and beyond to the pages: what
// net/http refuses by itself is counted and has its line in the log.
func TestHeadsOfPages(t *testing.T) {
	cfg, log := config(t), new(logBuffer)
	cfg.Limits.Tunnel.HeadTimeout = configs.Duration(300 * time.Millisecond)
	g, _ := start(t, cfg, gateway.Options{Log: zerolog.New(log)})
	head := func(size int) string {
		const most = "GET / HTTP/1.1\r\nHost: h\r\nX: " + "\r\n\r\n"
		return "GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", size-len(most)) + "\r\n\r\n"
	}
	// net/http allows itself 4 KiB more than it is told.
	limit := int(cfg.Limits.Tunnel.Head) + 4<<10
	refused := 0
	for _, tt := range []struct {
		name, sent string
		status     int // 0: closed without a word
		counts     int
	}{
		{"a page", head(100), 200, 0},
		{"the last page", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", 200, 0},
		{"the largest head", head(limit), 200, 0},
		{"one byte more", head(limit + 1), 431, 1},
		{"no HTTP", "GET / HTTP/1.1\r\nA B\r\n\r\n", 400, 1},
		{"half a head and silence", "GET / HTTP/1.1\r\nHost: ", 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", g.Addr("http").String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, tt.sent); err != nil {
				t.Fatal(err)
			}
			status := 0
			if response, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
				status = response.StatusCode
				_ = response.Body.Close()
			} else if tt.status != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
			if status != tt.status {
				t.Errorf("status %d, want %d", status, tt.status)
			}
			conn.Close()
			if tt.counts > 0 {
				refused++
				waitForLog(t, log, fmt.Sprintf(`"remote":%q,"reason":"no whole request head`, conn.LocalAddr()))
			}
		})
	}
	waitForLog(t, log, `"level":"warn","reason":"http_request","setting":"limits.tunnel.head, limits.tunnel.head_timeout","refused":`)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", g.Addr("http").String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for range 3 {
		if _, err := io.WriteString(conn, head(100)); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	conn.Close()
	if got := g.Snapshot().Rejected["http_request"]; got != uint64(refused) {
		t.Errorf("counted %d, want %d", got, refused)
	}
	if n := strings.Count(log.String(), `"message":"http request refused"`); n != refused {
		t.Errorf("%d lines for %d refused requests:\n%s", n, refused, log)
	}
}
