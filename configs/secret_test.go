package configs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"go.yaml.in/yaml/v4"

	"culvert/configs"
)

const hush = "correct-horse"

func TestSecretNeverShows(t *testing.T) {
	secret := configs.NewSecret(hush)
	hidden := struct{ inner configs.Secret }{secret} // fmt cannot call methods of unexported fields
	cfg := configs.Default()
	cfg.Apps["live"] = configs.App{Publish: configs.Publish{Keys: []configs.Key{
		{Name: "studio", Key: secret}, {Key: secret}, {Name: `no "name"`, Key: secret},
	}}, Push: []configs.Push{{To: configs.NewAddress(hush)}}, Pull: configs.Pull{From: configs.NewAddress(hush)}}

	shown := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%10.3s", "%T %v"} {
		for name, v := range map[string]any{
			"secret": secret, "pointer": &secret, "config": cfg, "hidden": hidden,
			"keys": cfg.Apps["live"].Publish.Keys,
		} {
			shown[verb+" "+name] = fmt.Sprintf(verb, v)
		}
	}
	asJSON, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Dump(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	logger := zerolog.New(&log)
	logger.Info().Stringer("a", secret).Interface("b", secret).Any("c", cfg).Str("d", secret.String()).Msg("x")
	shown["json"], shown["yaml"], shown["zerolog"] = string(asJSON), string(asYAML), log.String()

	for how, text := range shown {
		for _, form := range []string{hush, fmt.Sprintf("%x", hush), fmt.Sprintf("%d", []byte(hush)), hush[:4]} {
			if strings.Contains(text, form) {
				t.Errorf("%s shows the secret: %s", how, text)
			}
		}
	}
	for _, how := range []string{"json", "yaml", "zerolog"} {
		if !strings.Contains(shown[how], "***") || !strings.Contains(shown[how], "studio") {
			t.Errorf("%s: %s", how, shown[how])
		}
	}
}

func TestSecretEqual(t *testing.T) {
	tests := []struct {
		name, secret, candidate string
		want                    bool
	}{
		{"equal", hush, hush, true},
		{"prefix", hush, hush[:5], false},
		{"longer", hush, hush + "x", false},
		{"empty candidate", hush, "", false},
		{"empty secret", "", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := configs.NewSecret(tt.secret).Equal(tt.candidate); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
	if (configs.Secret{}).Equal("") {
		t.Error("the zero secret equals an empty candidate")
	}
}

func TestSecretReferences(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file:" + path
	}
	tests := []struct{ name, text, want, err string }{
		{"text", "plain", "plain", ""},
		{"number", "00123", "00123", ""},
		{"variable", "${KEY}", "from-environment", ""},
		{"variable inside a text stays", "a${KEY}", "a${KEY}", ""},
		{"content is not resolved again", "${NESTED}", "${KEY}", ""},
		{"variable missing", "${NOPE}", "", "environment variable NOPE is not set"},
		{"variable empty", "${EMPTY}", "", "environment variable EMPTY is not set"},
		{"file", write("one", "from-file\n"), "from-file", ""},
		{"file with CRLF", write("crlf", "from-file\r\n"), "from-file", ""},
		{"file missing", "file:" + filepath.Join(dir, "nope"), "", "nope"},
		{"file empty", write("empty", "\n"), "", "is empty"},
		{"file with two lines", write("two", "a1\nb2\n"), "", "more than one line"},
		{"file too large", write("large", strings.Repeat("x", 64<<10+1)), "", "larger than 64KiB"},
		{"file of the largest size", write("full", strings.Repeat("x", 64<<10)), strings.Repeat("x", 64<<10), ""},
	}
	environ := map[string]string{"KEY": "from-environment", "NESTED": "${KEY}", "EMPTY": ""}
	lookup := func(name string) (string, bool) { v, ok := environ[name]; return v, ok }
	for _, tt := range tests {
		for form, text := range map[string]string{
			"text":    "apps: {live: {publish: {keys: ['" + tt.text + "']}}}",
			"section": "apps: {live: {publish: {keys: [{name: n, key: '" + tt.text + "'}]}}}",
		} {
			t.Run(tt.name+"/"+form, func(t *testing.T) {
				cfg, problems := configs.Decode([]byte(text), lookup)
				if tt.err != "" {
					if len(problems) != 1 || !strings.Contains(problems[0].Error(), tt.err) {
						t.Errorf("problems %v, want %q", problems, tt.err)
					}
					return
				}
				if len(problems) > 0 {
					t.Fatal(problems)
				}
				if got := cfg.Apps["live"].Publish.Keys[0].Key.Reveal(); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		}
	}
}

func TestKeyYAML(t *testing.T) {
	tests := []struct{ text, name, key, err string }{
		{"secret", "", "secret", ""},
		{"{name: n, key: secret}", "n", "secret", ""},
		{"{name: n, keyz: secret}", "", "", "keyz"},
		{"[a]", "", "", "a key is a text"},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			var k configs.Key
			err := yaml.Load([]byte(tt.text), &k)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || k.Name != tt.name || k.Key.Reveal() != tt.key {
				t.Errorf("got %q %q %v", k.Name, k.Key.Reveal(), err)
			}
		})
	}
}
