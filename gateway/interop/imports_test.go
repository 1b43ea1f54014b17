package interop_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// pkg is what `go list` says about one package. Paths of ours are kept without the leading "culvert/".
type pkg struct {
	ImportPath   string
	Imports      []string // direct
	Deps         []string // direct and indirect
	TestImports  []string
	XTestImports []string
}

// directions is the table: what of ours a package may import directly. A name ending in /... means the whole tree and its root.
// A package without a row fails the test: deciding its place is part of adding it.
var directions = map[string][]string{
	"cmd/culvert": {"configs", "gateway", "gateway/client", "gateway/bench", "tunnel/connector", "tls"},

	"configs":            {},
	"tls":                {},
	"tunnel":             {},
	"tunnel/connector":   {"tunnel"},
	"rtmpcore/handshake": {},
	"rtmpcore/chunk":     {},
	"rtmpcore/amf":       {},
	"rtmpcore/message":   {"rtmpcore/amf", "rtmpcore/chunk"},
	"rtmpcore/flv":       {"rtmpcore/amf"},
	"rtmpcore/send":      {"rtmpcore/chunk", "rtmpcore/flv"},
	"rtmpcore/rtmpe":     {},
	"rtmpcore":           {"rtmpcore/..."},

	"gateway":         {"gateway/...", "tunnel/...", "rtmpcore/...", "tls", "configs"},
	"gateway/admin":   {},
	"gateway/app":     {"gateway/live", "gateway/record", "gateway/vod", "gateway/proxy", "gateway/auth", "rtmpcore/..."},
	"gateway/auth":    {},
	"gateway/bench":   {"gateway/client", "rtmpcore/...", "tunnel"},
	"gateway/client":  {"gateway/netio", "rtmpcore/...", "tunnel"},
	"gateway/demo":    {},
	"gateway/interop": {"gateway/...", "tunnel/...", "rtmpcore/...", "tls", "configs"},
	"gateway/live":    {"rtmpcore/amf", "rtmpcore/chunk", "rtmpcore/flv", "rtmpcore/message", "rtmpcore/send"},
	"gateway/netio":   {},
	"gateway/portmux": {"gateway/netio"},
	"gateway/proxy":   {"rtmpcore/..."},
	"gateway/record":  {"gateway/live", "rtmpcore/..."},
	"gateway/relay":   {"gateway/live", "gateway/client", "rtmpcore/..."},
	"gateway/vod":     {"rtmpcore/..."},
	"gateway/web":     {},
}

// trees never see each other, not even in tests.
var trees = []string{"tunnel", "rtmpcore", "tls", "configs"}

func TestImportDirections(t *testing.T) {
	for _, goos := range []string{"linux", "windows", "darwin"} {
		t.Run(goos, func(t *testing.T) {
			t.Parallel()
			for _, p := range listPackages(t, goos) {
				for _, problem := range problems(p) {
					t.Error(problem)
				}
			}
		})
	}
}

// The rules themselves, on packages that break them.
func TestImportDirectionsCatch(t *testing.T) {
	for name, test := range map[string]struct {
		pkg  pkg
		want string // part of the problem, empty for none
	}{
		"in order":                {pkg{ImportPath: "rtmpcore/message", Imports: []string{"fmt", "rtmpcore/amf"}, Deps: []string{"fmt", "rtmpcore/amf"}}, ""},
		"not in the row":          {pkg{ImportPath: "rtmpcore/amf", Imports: []string{"rtmpcore/chunk"}}, "may import none of ours"},
		"not in a longer row":     {pkg{ImportPath: "rtmpcore/message", Imports: []string{"rtmpcore/flv"}}, "may import only rtmpcore/amf, rtmpcore/chunk"},
		"HTTP far below rtmpcore": {pkg{ImportPath: "rtmpcore/send", Imports: []string{"expvar"}, Deps: []string{"expvar", "net/http"}}, "never net/http"},
		"RTMP below the tunnel":   {pkg{ImportPath: "tunnel", Imports: []string{"x/y"}, Deps: []string{"rtmpcore/amf"}}, "the four trees never see each other"},
		"tree in a test":          {pkg{ImportPath: "tls", XTestImports: []string{"configs"}}, "the four trees never see each other"},
		"gateway below a tree":    {pkg{ImportPath: "tunnel", Deps: []string{"gateway/netio"}}, "imports point down"},
		"configs in a library":    {pkg{ImportPath: "gateway/live", Imports: []string{"configs"}}, "only cmd and gateway"},
		"testdata in the binary":  {pkg{ImportPath: "gateway", Imports: []string{"testdata"}}, "for tests only"},
		"no row":                  {pkg{ImportPath: "gateway/util"}, "no row"},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(problems(test.pkg), "; ")
			if (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q in it", got, test.want)
			}
		})
	}
}

func listPackages(t *testing.T, goos string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,Deps,TestImports,XTestImports", "culvert/...")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		p.ImportPath = strings.TrimPrefix(p.ImportPath, "culvert/")
		for _, list := range [][]string{p.Imports, p.Deps, p.TestImports, p.XTestImports} {
			for i := range list {
				list[i] = strings.TrimPrefix(list[i], "culvert/")
			}
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		t.Fatal("go list found no package")
	}
	return all
}

func problems(p pkg) []string {
	var found []string
	say := func(imports, why string) {
		found = append(found, "culvert/"+p.ImportPath+" imports "+imports+": "+why)
	}
	row, known := directions[p.ImportPath]
	if !known {
		return []string{"culvert/" + p.ImportPath + " has no row in the import table: give it one"}
	}
	for _, dep := range p.Imports {
		switch {
		case !ours(dep):
		case root(dep) == "testdata":
			say(dep, "it is for tests only")
		case dep == "configs" && !within(row, dep):
			say(dep, "only cmd and gateway translate the configuration; a library takes a small Config of its own")
		case within(row, dep):
		case len(row) == 0:
			say(dep, "it may import none of ours")
		default:
			say(dep, "it may import only "+strings.Join(row, ", "))
		}
	}
	tree := root(p.ImportPath)
	if !slices.Contains(trees, tree) {
		return found
	}
	all := slices.Concat(p.Deps, p.TestImports, p.XTestImports)
	slices.Sort(all)
	for _, dep := range slices.Compact(all) {
		switch other := root(dep); {
		case other == tree:
		case slices.Contains(trees, other) && ours(dep):
			say(dep, "the four trees never see each other, at any depth")
		case other == "gateway", other == "cmd":
			say(dep, "imports point down: cmd, gateway, then the four trees")
		}
	}
	if tree == "rtmpcore" && slices.Contains(p.Deps, "net/http") {
		say("net/http (at some depth)", "rtmpcore speaks over any net.Conn and never net/http")
	}
	return found
}

// within reports whether a row allows dep.
func within(row []string, dep string) bool {
	return slices.ContainsFunc(row, func(allowed string) bool {
		if tree, ok := strings.CutSuffix(allowed, "/..."); ok {
			return dep == tree || strings.HasPrefix(dep, tree+"/")
		}
		return dep == allowed
	})
}

// ours reports whether an import path (without "culvert/") is of this module.
func ours(path string) bool {
	return slices.Contains([]string{"cmd", "configs", "gateway", "rtmpcore", "testdata", "tls", "tunnel"}, root(path))
}

func root(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}
