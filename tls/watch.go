package tlsconf

import (
	"bytes"
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// settle is how long after a change the files are read: certificate and key are written one after the other.
	settle = 200 * time.Millisecond
	// lookEvery is how often the files are looked at where the system tells of no changes, as on a network drive.
	lookEvery = 30 * time.Second
)

// run reads the files again whenever they change. Connections keep what they have; the next handshake gets what is new. Files that are no good change
// nothing but the status.
func (p *files) run(ctx context.Context) error {
	w := p.watcher()
	var events chan fsnotify.Event
	var errs chan error
	if w != nil {
		defer w.Close()
		events, errs = w.Events, w.Errors
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	quiet := time.NewTimer(settle) // what has changed between New and now
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-events:
			quiet.Reset(settle)
			continue
		case err := <-errs: // some may be lost: the ticker is there for them
			p.log.Debug().Err(err).Msg("watching certificates")
			continue
		case <-quiet.C:
		case <-look.C:
		}
		now := p.fingerprint()
		if bytes.Equal(now, p.seen) {
			continue
		}
		p.seen = now
		p.reload()
	}
}

// watcher tells of anything that happens in the directories of the files: renamed files and swapped links, as certbot and Kubernetes make them, are only
// seen there. It is nil where there is none.
func (p *files) watcher() *fsnotify.Watcher {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		p.log.Warn().Err(err).Dur("dur", lookEvery).Msg("no notice of changed certificates from the system, they are looked at in intervals")
		return nil
	}
	for _, file := range []string{p.certFile, p.keyFile} {
		dirs := []string{filepath.Dir(file)}
		if real, err := filepath.EvalSymlinks(file); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
		for _, dir := range dirs {
			_ = w.Add(dir) // the ticker is there for what cannot be watched
		}
	}
	return w
}

// fingerprint tells contents apart; nil parts stand for what cannot be read.
func (p *files) fingerprint() []byte {
	h := sha256.New()
	for _, file := range []string{p.certFile, p.keyFile} {
		data, err := os.ReadFile(file)
		if err != nil {
			data = []byte(err.Error())
		}
		sum := sha256.Sum256(data)
		h.Write(sum[:])
	}
	return h.Sum(nil)
}

func (p *files) reload() {
	l, err := p.read()
	if err != nil {
		p.mu.Lock()
		p.failures++
		p.lastError, p.lastErrorAt = err.Error(), time.Now()
		p.mu.Unlock()
		p.log.Error().Err(err).Time("not_after", p.current.Load().cert.Leaf.NotAfter).Msg("changed certificate cannot be used, the old one stays")
		return
	}
	p.use(l)
	for _, w := range l.warnings {
		p.log.Warn().Str("problem", w).Msg("tls certificate will trouble clients")
	}
}
