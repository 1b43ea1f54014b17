package proxy_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"culvert/gateway/proxy"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func poolOf(balance proxy.Balance, weights ...int) *proxy.Pool {
	cfg := proxy.PoolConfig{
		Balance: balance, Eject: proxy.EjectConfig{Failures: 2, Time: 10 * time.Second},
		Check: proxy.CheckConfig{Rise: 2, Fall: 3}, SlowStart: 10 * time.Second,
	}
	for i, w := range weights {
		cfg.Backends = append(cfg.Backends, proxy.BackendConfig{Scheme: "rtmp", Host: string(rune('a' + i)), Port: "1935", Weight: w})
	}
	return proxy.NewPool(cfg)
}

func TestRoundRobin(t *testing.T) {
	p := poolOf(proxy.BalanceRoundRobin, 3, 1, 1)
	got := ""
	for range 10 {
		got += p.Pick("", start)
	}
	if got != "abacaabaca" {
		t.Errorf("picked %s", got)
	}
}

func TestLeast(t *testing.T) {
	p := poolOf(proxy.BalanceLeast, 2, 1)
	count := map[string]int{}
	var last func()
	for range 30 {
		host, release := p.Hold("", start)
		count[host]++
		last = release
	}
	if count["a"] != 20 || count["b"] != 10 {
		t.Errorf("sessions are spread %v", count)
	}
	last()
	last() // once counts
	if host, _ := p.Hold("", start); host == "" {
		t.Error("nothing is picked")
	}
}

// A stream stays where it is; when a backend goes, only its own streams move.
func TestHash(t *testing.T) {
	p := poolOf(proxy.BalanceHash, 1, 1, 2)
	before, count := map[string]string{}, map[string]int{}
	for i := range 4000 {
		key := fmt.Sprint("live//", i)
		before[key] = p.Pick(key, start)
		count[before[key]]++
		if again := p.Pick(key, start); again != before[key] {
			t.Fatalf("%s is at %s, then at %s", key, before[key], again)
		}
	}
	if count["a"] < 850 || count["a"] > 1150 || count["c"] < 1850 || count["c"] > 2150 {
		t.Errorf("streams are spread %v", count)
	}
	p.Drain(0)
	for key, host := range before {
		if now := p.Pick(key, start); host != "a" && now != host || now == "a" {
			t.Errorf("%s moved from %s to %s", key, host, now)
		}
	}
}

func TestSticky(t *testing.T) {
	p := poolOf(proxy.BalanceSticky, 1, 1)
	first, release := p.Hold("x", start)
	for i := range 9 {
		p.Hold(fmt.Sprint(i), start)
	}
	for range 5 {
		if host, _ := p.Hold("x", start); host != first {
			t.Errorf("the stream is at %s and at %s", first, host)
		}
	}
	release()
}

func TestEject(t *testing.T) {
	p := poolOf(proxy.BalanceRoundRobin, 1, 1)
	bad := errors.New("bad")
	for i := range 2 {
		if ejected := p.Fail(0, start, bad); ejected != (i == 1) {
			t.Errorf("after failure %d: ejected %v", i+1, ejected)
		}
	}
	for range 4 {
		if host := p.Pick("", start.Add(time.Second)); host != "b" {
			t.Errorf("picked %s while ejected", host)
		}
	}
	p.Drain(1)
	if host := p.Pick("", start.Add(time.Second)); host != "a" {
		t.Errorf("picked %q although there is no other", host)
	}
}

func TestChecks(t *testing.T) {
	p := poolOf(proxy.BalanceRoundRobin, 1, 1)
	bad := errors.New("bad")
	for i := range 3 {
		if changed := p.Checked(0, start, bad); changed != (i == 2) {
			t.Errorf("after bad check %d: changed %v", i+1, changed)
		}
	}
	for range 3 {
		if p.Pick("", start) != "b" {
			t.Error("a backend that is down is picked")
		}
	}
	for i := range 2 {
		if changed := p.Checked(0, start, nil); changed != (i == 1) {
			t.Errorf("after good check %d: changed %v", i+1, changed)
		}
	}
	early, late := map[string]int{}, map[string]int{}
	for range 110 {
		early[p.Pick("", start.Add(time.Millisecond))]++
	}
	for range 100 {
		late[p.Pick("", start.Add(time.Minute))]++
	}
	if early["a"] < 8 || early["a"] > 13 || late["a"] < 45 || late["a"] > 55 {
		t.Errorf("after coming back it gets %d of 110, later %d of 100", early["a"], late["a"])
	}
}

func TestPatternsAndTemplates(t *testing.T) {
	for _, bad := range []string{"~(", "~[a"} {
		if _, err := proxy.ParsePattern(bad); err == nil {
			t.Errorf("pattern %s is taken", bad)
		}
	}
	for _, bad := range []string{"{", "{app", "{nothing}", "{app.0}", "{app.10}", "a{stream.x}"} {
		if _, err := proxy.ParseTemplate(bad); err == nil {
			t.Errorf("template %s is taken", bad)
		}
	}
}
