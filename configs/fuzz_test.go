package configs_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"culvert/configs"
)

// FuzzDecode: no bytes panic, memory is bounded by them, every problem has a text, and what is valid survives being written and read again.
func FuzzDecode(f *testing.F) {
	f.Add(configs.Reference())
	for section := range strings.SplitSeq(string(configs.Reference()), "\n\n") { // small ones are changed faster
		f.Add([]byte(section))
	}
	samples, err := filepath.Glob("samples/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range samples {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, s := range []string{"", "# c", "a: &x [*x]", "apps: &a {live: *a}", "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d]", "apps: {'': ~, '*': {publish: {keys: [~, {}, {name: 1}]}}}", "? {a: b}\n: c", "<<: {}", "apps: {a: {push: [~, {}, rtmp://h/a/b], pull: rtmp://h/a/{name}}}", "\xff"} {
		f.Add([]byte(s))
	}
	nothing := func(string) (string, bool) { return "", false }
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		cfg, problems := configs.Decode(data, nothing)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > uint64(len(data))*8192+1<<20 {
			t.Fatalf("%d bytes allocated for %d", got, len(data))
		}
		for _, p := range problems {
			if p.Error() == "" || p.Source == "" {
				t.Errorf("problem without a text: %#v", p)
			}
		}
		if len(problems) > 0 || cfg.Validate() != nil {
			return
		}
		for name, app := range cfg.Apps { // a dump hides keys
			app.Publish.Keys, app.Push, app.Pull.From = []configs.Key{}, []configs.Push{}, configs.Address{}
			cfg.Apps[name] = app
		}
		text, err := yaml.Dump(cfg)
		if err != nil {
			t.Fatal(err)
		}
		again, problems := configs.Decode(text, nothing)
		if len(problems) > 0 {
			t.Fatalf("%v in\n%s", problems, text)
		}
		if diff := cmp.Diff(cfg, again, plain); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzSWF reads what names a Flash application.
func FuzzSWF(f *testing.F) {
	hash := strings.Repeat("0123456789abcdef", 4)
	for _, text := range []string{hash + ":1000", " " + strings.ToUpper(hash) + ":4294967295 ", hash, hash + ":0", hash + ":4294967296", hash[1:] + ":1", ":", hash + ":-1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var first, second configs.SWF
		if err := first.UnmarshalText([]byte(text)); err != nil {
			if first != (configs.SWF{}) || len(err.Error()) > 600 {
				t.Errorf("%+v with %d bytes of error", first, len(err.Error()))
			}
			return
		}
		once, err := first.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if err := second.UnmarshalText(once); err != nil || second != first || first.Size == 0 {
			t.Errorf("%+v became %+v, %v", first, second, err)
		}
	})
}
