package tlsconf

import (
	"bytes"
	"context"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

// newStore returns the storage of what ACME obtains: a directory below dir, or memory when dir is empty.
func newStore(dir string) certmagic.Storage {
	if dir == "" {
		return &memory{items: make(map[string]item), locks: make(map[string]chan struct{})}
	}
	return &fileStore{FileStorage: certmagic.FileStorage{Path: filepath.Join(dir, "acme")}}
}

// memory is a storage that ends with the process.
type memory struct {
	mu sync.Mutex
	// guarded by mu
	items map[string]item
	locks map[string]chan struct{} // closed by Unlock
}

type item struct {
	data []byte
	at   time.Time
}

func (m *memory) Store(_ context.Context, key string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.items[key] = item{bytes.Clone(data), time.Now()}
	return nil
}

func (m *memory) Load(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	it, ok := m.items[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return bytes.Clone(it.data), nil
}

func (m *memory) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k := range m.items {
		if k == key || strings.HasPrefix(k, key+"/") {
			delete(m.items, k)
		}
	}
	return nil
}

func (m *memory) Exists(ctx context.Context, key string) bool {
	_, err := m.Stat(ctx, key)
	return err == nil
}

func (m *memory) List(_ context.Context, prefix string, recursive bool) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := make(map[string]bool)
	for k := range m.items {
		rest, ok := strings.CutPrefix(k, prefix+"/")
		if !ok {
			continue
		}
		if !recursive {
			rest, _, _ = strings.Cut(rest, "/")
		}
		found[path.Join(prefix, rest)] = true
	}
	if len(found) == 0 {
		return nil, fs.ErrNotExist
	}
	var out []string
	for k := range found {
		out = append(out, k)
	}
	slices.Sort(out)
	return out, nil
}

func (m *memory) Stat(_ context.Context, key string) (certmagic.KeyInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	it, ok := m.items[key]
	if !ok {
		return certmagic.KeyInfo{}, fs.ErrNotExist
	}
	return certmagic.KeyInfo{Key: key, Modified: it.at, Size: int64(len(it.data)), IsTerminal: true}, nil
}

func (m *memory) Lock(ctx context.Context, name string) error {
	for {
		m.mu.Lock()
		held := m.locks[name]
		if held == nil {
			m.locks[name] = make(chan struct{})
			m.mu.Unlock()
			return nil
		}
		m.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *memory) Unlock(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if held := m.locks[name]; held != nil {
		close(held)
		delete(m.locks, name)
	}
	return nil
}
