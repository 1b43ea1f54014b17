package configs

import (
	"errors"

	"go.yaml.in/yaml/v4"
)

// Key is a publish key. As text it is the secret alone, good for streams of any name; in YAML it may also be {name: NAME, key: SECRET}, good for the
// stream of that name only. The name is no secret.
type Key struct {
	Name string `yaml:"name"`
	Key  Secret `yaml:"key"`
}

// UnmarshalText takes the text as the secret of a key without a name.
func (k *Key) UnmarshalText(text []byte) error {
	*k = Key{Key: NewSecret(string(text))}
	return nil
}

func (k *Key) resolve(lookup func(string) (string, bool)) error { return k.Key.resolve(lookup) }

// MarshalText returns ***: the text of a key is its secret.
func (k Key) MarshalText() ([]byte, error) { return k.Key.MarshalText() }

// MarshalYAML shows the name and hides the secret.
func (k Key) MarshalYAML() (any, error) {
	if k.Name == "" {
		return masked, nil
	}
	return map[string]string{"name": k.Name, "key": masked}, nil
}

// MarshalJSON shows the name and hides the secret. Names that [Config.Validate] refuses are hidden too, they may be a secret in the wrong place.
func (k Key) MarshalJSON() ([]byte, error) {
	if !validKeyName(k.Name) {
		return k.Key.MarshalJSON()
	}
	return []byte(`{"name":"` + k.Name + `","key":"` + masked + `"}`), nil
}

// UnmarshalYAML reads the secret alone, or a mapping of name and key.
func (k *Key) UnmarshalYAML(node *yaml.Node) error {
	switch node.Kind {
	case yaml.ScalarNode:
		return k.UnmarshalText([]byte(node.Value))
	case yaml.MappingNode:
		type fields Key // without this method
		return node.Load((*fields)(k), yaml.WithKnownFields())
	default:
		return errors.New("a key is a text, or a mapping of name and key")
	}
}
