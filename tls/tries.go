package tlsconf

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/caddyserver/certmagic"
)

// try is what the storage keeps of an order that failed or has not ended, so that a gateway that is started again and again asks an authority no more
// often than one that keeps running. It is written before the order: also one that the gateway does not survive counts.
type try struct {
	Failures int       `json:"failures"`       // in a row, this one included
	At       time.Time `json:"at"`             // when it began or failed
	Next     time.Time `json:"next"`           // when to try again
	Firm     bool      `json:"firm,omitempty"` // the authority said so
	Reason   string    `json:"reason"`         // why it failed, in words
	Held     time.Time `json:"held"`           // end of the certificate that was to be replaced; zero: there was none
	Settings string    `json:"settings"`       // fingerprint of those it was made with
}

const (
	// restartPause is the longest pause after a start: whoever starts a gateway again may have put right what was wrong. Four orders an hour stay
	// below the five failed proofs of a name that Let's Encrypt allows.
	restartPause = 15 * time.Minute
	// maxFirm is the longest pause that an authority is obeyed in.
	maxFirm = 7 * 24 * time.Hour
)

const unfinished = "the gateway ended in the middle of an order"

// due returns when to try again after a start. A clock that was set back must not make it wait for ever.
func (t try) due(now time.Time) time.Time {
	limit := maxFirm
	from := now
	if !t.Firm {
		limit = restartPause
		if t.At.Before(now) {
			from = t.At
		}
	}
	if latest := from.Add(limit); t.Next.After(latest) {
		return latest
	}
	return t.Next
}

func tryKey(name string) string {
	return path.Join("tries", certmagic.StorageKeys.Safe(name)+".json")
}

// lastTry reads what is kept. False: nothing, or it was made with other settings, which may cure what was wrong.
func (m *managed) lastTry(ctx context.Context, name string) (t try, ok bool) {
	data, err := m.store.Load(ctx, tryKey(name))
	if err != nil || json.Unmarshal(data, &t) != nil || t.Failures < 1 || t.Settings != m.settings {
		return try{}, false
	}
	return t, true
}

// keepTry writes t. A storage that cannot be written must not stop an order: the order finds out by itself, and says so.
func (m *managed) keepTry(ctx context.Context, name string, t try) {
	t.Settings = m.settings
	data, err := json.Marshal(t)
	if err == nil {
		err = m.store.Store(ctx, tryKey(name), data)
	}
	if err != nil {
		m.log.Debug().Str("name", name).Err(err).Msg("a try cannot be kept")
	}
}

func (m *managed) forgetTry(ctx context.Context, name string) {
	if err := m.store.Delete(ctx, tryKey(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log.Debug().Str("name", name).Err(err).Msg("a try cannot be forgotten")
	}
}

// fingerprint tells whether settings that decide about the success of an order have changed.
func (a ACME) fingerprint() string {
	h := sha256.New()
	fmt.Fprintln(h, a.Client, a.Email, a.HTTP01, a.TLSALPN01, a.KeyType)
	for _, by := range a.Authorities {
		fmt.Fprintln(h, by.Directory, by.KeyID, by.MACKey)
	}
	if d := a.DNS; d != nil {
		fmt.Fprintf(h, "%+v %s %s %T %+v\n", d.Resolvers, d.Propagation, d.Delegate, d.Provider, d.Provider)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
