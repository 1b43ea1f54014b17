package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// netFloor is a floor with a goroutine per connection.
type netFloor struct {
	hub *floorHub

	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu
	wg    sync.WaitGroup
}

// serve accepts until ctx ends.
func (f *netFloor) serve(ctx context.Context, ln net.Listener) error {
	f.conns = map[net.Conn]struct{}{}
	stop := context.AfterFunc(ctx, func() {
		ln.Close()
		f.mu.Lock()
		defer f.mu.Unlock()
		for c := range f.conns {
			c.Close()
		}
	})
	defer stop()
	if f.hub.pause > 0 {
		f.wg.Go(func() { f.ticks(ctx) }) // stopped by ctx, waited below
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			f.wg.Wait()
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		f.mu.Lock()
		f.conns[c] = struct{}{}
		f.mu.Unlock()
		if ctx.Err() != nil {
			c.Close()
		}
		f.wg.Go(func() { // stopped by the end of the connection, waited above
			f.conn(c)
			c.Close()
			f.mu.Lock()
			delete(f.conns, c)
			f.mu.Unlock()
		})
	}
}

func (f *netFloor) ticks(ctx context.Context) {
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			f.hub.tick()
		case <-ctx.Done():
			return
		}
	}
}

// netPlayer writes to a connection, which may block.
type netPlayer struct{ net.Conn }

func (p netPlayer) send(b []byte) {
	if len(b) == 0 {
		return
	}
	if _, err := p.Write(b); err != nil {
		p.Close() // its reader ends it
	}
}

// conn serves one connection until it ends.
func (f *netFloor) conn(c net.Conn) {
	var (
		buf  = make([]byte, 64<<10)
		s    = newFloorSession(f.hub, netPlayer{c})
		http *floorHTTP
	)
	defer s.close()
	for first := true; ; first = false {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if first && buf[0] == 'P' {
			http = &floorHTTP{tunnel: newFloorTunnel(f.hub)}
		}
		if http == nil {
			err = s.feed(buf[:n])
		} else {
			var answers []byte
			answers, err = http.feed(buf[:n])
			netPlayer{c}.send(answers)
		}
		if err != nil {
			return
		}
	}
}

// tlsFloor serves RTMPS with crypto/tls and a certificate made for it.
func tlsFloor(ctx context.Context, ln net.Listener, hub *floorHub) error {
	cert, err := selfSigned()
	if err != nil {
		ln.Close()
		return err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	return (&netFloor{hub: hub}).serve(ctx, tls.NewListener(ln, config))
}

// selfSigned makes a certificate for loopback with a P-256 key.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// httpFloor answers the tunnel's requests through net/http.
func httpFloor(ctx context.Context, ln net.Listener, hub *floorHub) error {
	h := &httpSessions{hub: hub, sessions: map[string]*httpSession{}}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

type httpSessions struct {
	hub *floorHub

	mu       sync.Mutex
	sessions map[string]*httpSession // guarded by mu
}

type httpSession struct {
	mu     sync.Mutex
	tunnel *floorTunnel // guarded by mu
}

func (h *httpSessions) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	parts := strings.Split(req.URL.Path, "/") // "", operation, session, number
	body, err := io.ReadAll(req.Body)
	if err != nil || len(parts) < 3 || parts[1] == "" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-fcs")
	h.mu.Lock()
	if parts[1] == "open" {
		id := strconv.Itoa(100_000_000 + len(h.sessions))
		h.sessions[id] = &httpSession{tunnel: newFloorTunnel(h.hub)}
		h.mu.Unlock()
		_, _ = io.WriteString(w, id+"\n") // the client has gone, or it gets it
		return
	}
	s := h.sessions[parts[2]]
	h.mu.Unlock()
	if s == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	s.mu.Lock()
	answer, err := s.tunnel.answer(parts[1][0], body)
	s.mu.Unlock()
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(1+len(answer)))
	_, _ = w.Write(append([]byte{floorPoll}, answer...)) // the client has gone, or it gets it
}
