package configs_test

import (
	"encoding"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"culvert/configs"
)

// values tests one type: each text gives the value, as text and in YAML, and the value gives back canonical (text when empty).
type values[T any] []struct {
	text      string
	want      T
	canonical string
	err       string
}

func (table values[T]) run(t *testing.T) {
	t.Helper()
	for _, tt := range table {
		t.Run(tt.text, func(t *testing.T) {
			var got, inYAML T
			err := any(&got).(encoding.TextUnmarshaler).UnmarshalText([]byte(tt.text))
			errYAML := yaml.Load([]byte("'"+tt.text+"'"), &inYAML)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				if errYAML == nil {
					t.Error("no error in YAML")
				}
				return
			}
			if err != nil || errYAML != nil {
				t.Fatal(err, errYAML)
			}
			if diff := cmp.Diff(tt.want, got, plain); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.want, inYAML, plain); diff != "" {
				t.Errorf("in YAML: %s", diff)
			}
			want := tt.canonical
			if want == "" {
				want = tt.text
			}
			text, err := any(got).(encoding.TextMarshaler).MarshalText()
			if err != nil || string(text) != want {
				t.Errorf("MarshalText = %q, %v, want %q", text, err, want)
			}
			var again T
			if err := any(&again).(encoding.TextUnmarshaler).UnmarshalText(text); err != nil || !cmp.Equal(got, again, plain) {
				t.Errorf("%s read again: %v, %v", text, again, err)
			}
		})
	}
}

func TestSize(t *testing.T) {
	values[configs.Size]{
		{text: "0", want: 0},
		{text: "1000", want: 1000},
		{text: "64KiB", want: 65536},
		{text: "64 kib", want: 65536, canonical: "64KiB"},
		{text: "4096", want: 4096, canonical: "4KiB"},
		{text: "8454144", want: 8454144, canonical: "8256KiB"},
		{text: "1024MiB", want: 1 << 30, canonical: "1GiB"},
		{text: "50MB", want: 50_000_000, canonical: "50000000"},
		{text: "7b", want: 7, canonical: "7"},
		{text: "2GB", want: 2_000_000_000, canonical: "1953125KiB"},
		{text: "50M", err: "write MiB (1024) or MB (1000)"},
		{text: "8 apples", err: "not a size"},
		{text: "", err: "not a size"},
		{text: "KiB", err: "not a size"},
		{text: "-1", err: "not a size"},
		{text: "1.5MiB", err: "not a size"},
		{text: "9223372036854775807GiB", err: "too large"},
		{text: "99999999999999999999", err: "too large"},
	}.run(t)
}

func TestDuration(t *testing.T) {
	values[configs.Duration]{
		{text: "10s", want: configs.Duration(10 * time.Second)},
		{text: "400ms", want: configs.Duration(400 * time.Millisecond)},
		{text: "90s", want: configs.Duration(90 * time.Second), canonical: "1m30s"},
		{text: "10m", want: configs.Duration(10 * time.Minute)},
		{text: "1h", want: configs.Duration(time.Hour)},
		{text: "0", want: 0, canonical: "0s"},
		{text: "10", err: "write 10ms or 10s"},
		{text: "ten", err: "not a duration"},
		{text: "", err: "not a duration"},
	}.run(t)
}

func TestGather(t *testing.T) {
	values[configs.Gather]{
		{text: "video", want: configs.Gather{Mode: configs.GatherVideo}},
		{text: "message", want: configs.Gather{Mode: configs.GatherMessage}},
		{text: "350ms", want: configs.Gather{Mode: configs.GatherWindow, Window: 350 * time.Millisecond}},
		{text: "audio", err: "neither video nor message"},
		{text: "350", err: "neither video nor message"},
	}.run(t)
}

func TestPrefix(t *testing.T) {
	p := func(s string) configs.Prefix { return configs.Prefix{Prefix: netip.MustParsePrefix(s)} }
	values[configs.Prefix]{
		{text: "10.0.0.0/8", want: p("10.0.0.0/8")},
		{text: "192.0.2.7", want: p("192.0.2.7/32"), canonical: "192.0.2.7/32"},
		{text: "fd00::/8", want: p("fd00::/8")},
		{text: "::1", want: p("::1/128"), canonical: "::1/128"},
		{text: "::ffff:10.1.2.3", want: p("10.1.2.3/32"), canonical: "10.1.2.3/32"},
		{text: "10.1.2.3/8", err: "write 10.0.0.0/8"},
		{text: "fe80::1%eth0", err: "has a zone"},
		{text: "proxy.example", err: "neither an address nor a range"},
		{text: "10.0.0.0/33", err: "neither an address nor a range"},
		{text: "", err: "neither an address nor a range"},
	}.run(t)
}

func TestSWF(t *testing.T) {
	hash := strings.Repeat("0123456789abcdef", 4)
	want := configs.SWF{Size: 140322}
	for i := range want.Hash {
		want.Hash[i] = [...]byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}[i%8]
	}
	values[configs.SWF]{
		{text: hash + ":140322", want: want},
		{text: " " + strings.ToUpper(hash) + ":140322", want: want, canonical: hash + ":140322"},
		{text: hash + ":4294967295", want: configs.SWF{Hash: want.Hash, Size: 1<<32 - 1}},
		{text: hash + ":4294967296", err: "not HASH:SIZE"},
		{text: hash + ":0", err: "not HASH:SIZE"},
		{text: hash + ":", err: "not HASH:SIZE"},
		{text: hash, err: "not HASH:SIZE"},
		{text: hash[2:] + ":1", err: "not HASH:SIZE"},
		{text: hash + "00:1", err: "not HASH:SIZE"},
		{text: "x" + hash[1:] + ":1", err: "not HASH:SIZE"},
		{text: "player.swf", err: "not HASH:SIZE"},
		{text: "", err: "not HASH:SIZE"},
	}.run(t)
}

func TestTrusted(t *testing.T) {
	l := configs.Listen{TrustedProxies: []configs.Prefix{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}}
	if got := l.Trusted(); len(got) != 1 || got[0] != netip.MustParsePrefix("10.0.0.0/8") {
		t.Errorf("Trusted = %v", got)
	}
}
