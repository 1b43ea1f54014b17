package proxy_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"culvert/gateway/proxy"
)

// A session is tried at one backend more than there are retries, and at each once.
func TestRetries(t *testing.T) {
	for retries, want := range [][]string{{"a"}, {"a", "b"}, {"a", "b", "c"}, {"a", "b", "c"}} {
		p := proxy.NewPool(proxy.PoolConfig{Retries: retries, Timeout: time.Second, Backends: []proxy.BackendConfig{{Host: "a"}, {Host: "b"}, {Host: "c"}}})
		var tried []string
		bad := errors.New("bad")
		err := p.Try(t.Context(), func(host string) error {
			tried = append(tried, host)
			return bad
		})
		if slices.Sort(tried); !slices.Equal(tried, want) || !errors.Is(err, bad) {
			t.Errorf("%d retries: tried at %q: %v", retries, tried, err)
		}
	}
}

// Each ejection in a row lasts longer, up to eight times the first; a success begins anew.
func TestEjectionGrows(t *testing.T) {
	p, now := poolOf(proxy.BalanceRoundRobin, 1, 1), start
	eject := func() time.Duration {
		t.Helper()
		for !p.Fail(0, now, errors.New("bad")) {
		}
		p.Drain(1)
		for lasted := time.Duration(0); ; lasted += 10 * time.Second {
			if p.Up(0, now.Add(lasted)) {
				now = now.Add(lasted)
				return lasted
			}
		}
	}
	for i := range 10 {
		if got, want := eject(), time.Duration(min(i+1, 8))*10*time.Second; got != want {
			t.Errorf("ejection %d lasted %v, want %v", i+1, got, want)
		}
	}
	p.Succeed(0)
	if got := eject(); got != 10*time.Second {
		t.Errorf("after a success it lasted %v", got)
	}
}

// Only checks in a row count.
func TestChecksInARow(t *testing.T) {
	p := poolOf(proxy.BalanceRoundRobin, 1)
	bad := errors.New("bad")
	for i, err := range []error{bad, bad, nil, bad, bad} {
		if p.Checked(0, start, err) {
			t.Errorf("down after check %d, with two bad ones in a row", i+1)
		}
	}
	if !p.Checked(0, start, bad) || p.Up(0, start) {
		t.Error("not down after three")
	}
	for i, err := range []error{nil, bad, nil} {
		if p.Checked(0, start, err) {
			t.Errorf("up after check %d, with one good one in a row", i+1)
		}
	}
	if !p.Checked(0, start, nil) || !p.Up(0, start) {
		t.Error("not up after two")
	}
}

// Where a stream is is remembered while it has sessions and for a while after that, for
// so many streams.
func TestStickyIsBounded(t *testing.T) {
	synctest.Test(t, testStickyIsBounded) // for its clock
}

func testStickyIsBounded(t *testing.T) {
	t.Helper()
	const most = 1 << 16
	p := poolOf(proxy.BalanceSticky, 1, 1)
	_, kept := p.Hold("kept", start)
	for i := range most + 1 {
		_, release := p.Hold(fmt.Sprint(i), start)
		release()
	}
	if n := p.Known(); n != most {
		t.Errorf("%d streams are remembered, want %d", n, most)
	}
	ended := time.Now()
	p.Forget(ended.Add(29 * time.Second))
	if n := p.Known(); n != most {
		t.Errorf("%d streams are remembered after 29 s, want %d", n, most)
	}
	p.Forget(ended.Add(31 * time.Second))
	if n := p.Known(); n != 1 {
		t.Errorf("%d streams are remembered, want the one that has a session", n)
	}
	kept()
}
