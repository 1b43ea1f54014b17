package configs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"culvert/configs"
)

// plain lets cmp compare configurations although secrets hide their text.
var plain = cmp.Options{
	cmp.Comparer(func(a, b configs.Secret) bool { return a.Reveal() == b.Reveal() }),
	cmp.Comparer(func(a, b configs.Prefix) bool { return a.Prefix == b.Prefix }),
}

func TestReferenceEqualsDefault(t *testing.T) {
	path := filepath.Join(t.TempDir(), "culvert.yaml")
	if err := os.WriteFile(path, configs.Reference(), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := configs.Load(configs.LoadOptions{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Source != path {
		t.Errorf("Source = %q, want %q", cfg.Source, path)
	}
	cfg.Source = configs.BuiltIn
	if diff := cmp.Diff(configs.Default(), cfg, plain); diff != "" {
		t.Errorf("culvert.yaml differs from Default (-default +file):\n%s", diff)
	}
	if !reflect.DeepEqual(configs.Default(), cfg) {
		t.Error("culvert.yaml is not deeply equal to Default")
	}
}

func TestReferenceIsACopy(t *testing.T) {
	configs.Reference()[0] = 0
	if configs.Reference()[0] == 0 {
		t.Error("a caller can change the embedded file")
	}
}

// TestReferenceDocumentsEveryKey walks the file and the types together: each key of one stands in the other, and has a comment of its own.
func TestReferenceDocumentsEveryKey(t *testing.T) {
	var doc yaml.Node
	if err := yaml.Load(configs.Reference(), &doc); err != nil {
		t.Fatal(err)
	}
	count := 0
	var walk func(n *yaml.Node, typ reflect.Type, path string)
	walk = func(n *yaml.Node, typ reflect.Type, path string) {
		if n.Kind != yaml.MappingNode {
			return
		}
		var got []string
		for i := 0; i < len(n.Content); i += 2 {
			key, val := n.Content[i], n.Content[i+1]
			at := path + "." + key.Value
			if key.HeadComment == "" {
				t.Errorf("%s has no comment", at)
			}
			count++
			got = append(got, key.Value)
			if typ.Kind() == reflect.Map {
				walk(val, typ.Elem(), at)
				continue
			}
			for f := range typ.Fields() {
				if f.Tag.Get("yaml") == key.Value {
					walk(val, f.Type, at)
				}
			}
		}
		if typ.Kind() == reflect.Map {
			return
		}
		want := configs.FieldNames(typ)
		if !slices.Equal(got, want) {
			t.Errorf("%s: the file has %v, the type has %v", path, got, want)
		}
	}
	walk(doc.Content[0], reflect.TypeFor[configs.Config](), "")
	if count < 40 {
		t.Errorf("only %d keys seen", count)
	}
}

func TestSamples(t *testing.T) {
	files, err := filepath.Glob("samples/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("samples: %v, %v", files, err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			// The samples name files of a real machine; here they are in a directory of the test.
			dir := t.TempDir()
			for _, name := range []string{"fullchain.pem", "privkey.pem", "van.key"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte("content"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			copied := filepath.Join(dir, "culvert.yaml")
			data = bytes.ReplaceAll(data, []byte("/etc/culvert/"), []byte(filepath.ToSlash(dir)+"/"))
			if err := os.WriteFile(copied, data, 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := configs.Load(configs.LoadOptions{Path: copied, Environ: []string{"STUDIO_KEY=st-1", "PUBLISH_KEY=pk-1"}})
			if err != nil {
				t.Fatal(err)
			}
			if w := cfg.Warnings(); len(w) > 0 {
				t.Errorf("warnings: %v", w)
			}
			for name, app := range cfg.Apps {
				if len(app.Publish.Keys) == 0 {
					t.Errorf("app %s: no keys", name)
				}
			}
			if _, ok := cfg.App("another"); ok {
				t.Error("a file that lists apps serves others too")
			}
		})
	}
}

func TestDumpOfDefaultLoads(t *testing.T) {
	text, err := yaml.Dump(configs.Default())
	if err != nil {
		t.Fatal(err)
	}
	cfg, problems := configs.Decode(text, nil)
	if len(problems) > 0 {
		t.Fatalf("%v\n%s", problems, text)
	}
	if diff := cmp.Diff(configs.Default(), cfg, plain); diff != "" {
		t.Error(diff)
	}
}
