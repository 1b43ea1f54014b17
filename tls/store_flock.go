//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package tlsconf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"golang.org/x/sys/unix"
)

// lockPoll is how often a lock that another process holds is tried.
const lockPoll = 200 * time.Millisecond

// fileStore is certmagic's storage in files with locks of the kernel: they end with the process that holds them, so that a crash leaves none behind and
// no goroutine has to keep a lock file fresh.
type fileStore struct {
	certmagic.FileStorage

	mu sync.Mutex
	// guarded by mu
	held map[string]*os.File
}

// Lock implements [certmagic.Locker].
func (s *fileStore) Lock(ctx context.Context, name string) error {
	dir := filepath.Join(s.Path, "locks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, certmagic.StorageKeys.Safe(name)+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		timer := time.NewTimer(lockPoll)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			f.Close()
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = make(map[string]*os.File)
	}
	s.held[name] = f
	return nil
}

// Unlock implements [certmagic.Locker].
func (s *fileStore) Unlock(_ context.Context, name string) error {
	s.mu.Lock()
	f := s.held[name]
	delete(s.held, name)
	s.mu.Unlock()
	if f == nil {
		return nil
	}
	return f.Close() // which unlocks
}
