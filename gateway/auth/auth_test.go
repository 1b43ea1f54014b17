package auth_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"culvert/gateway/auth"
)

func TestPublish(t *testing.T) {
	plain := auth.PublishRules{Keys: []auth.Key{auth.NewKey("", "first"), auth.NewKey("", "s3cret")}}
	named := auth.PublishRules{Keys: []auth.Key{auth.NewKey("show", "s3cret"), auth.NewKey("other", "0ther")}}
	tests := map[string]struct {
		rules auth.PublishRules
		req   auth.PublishRequest
		want  string // "" is a refusal
	}{
		"no keys, loopback":               {auth.PublishRules{}, auth.PublishRequest{Name: "a", Loopback: true}, "a"},
		"no keys, elsewhere":              {auth.PublishRules{}, auth.PublishRequest{Name: "a"}, ""},
		"no keys, elsewhere, with a key":  {auth.PublishRules{}, auth.PublishRequest{Name: "a", Query: "key="}, ""},
		"right key":                       {plain, auth.PublishRequest{Name: "a", Query: "key=s3cret"}, "a"},
		"right key among other arguments": {plain, auth.PublishRequest{Name: "a", Query: "x=1&key=s3cret&y"}, "a"},
		"repeated key":                    {plain, auth.PublishRequest{Name: "a", Query: "key=old&key=first"}, "a"},
		"wrong key":                       {plain, auth.PublishRequest{Name: "a", Query: "key=s3cre"}, ""},
		"longer key":                      {plain, auth.PublishRequest{Name: "a", Query: "key=s3crett"}, ""},
		"empty key":                       {plain, auth.PublishRequest{Name: "a", Query: "key="}, ""},
		"no key":                          {plain, auth.PublishRequest{Name: "a"}, ""},
		"loopback needs the key too":      {plain, auth.PublishRequest{Name: "a", Loopback: true}, ""},
		"nameless key as name":            {plain, auth.PublishRequest{Name: "s3cret"}, ""},
		"key as name":                     {named, auth.PublishRequest{Name: "s3cret"}, "show"},
		"name with its key":               {named, auth.PublishRequest{Name: "show", Query: "key=s3cret"}, "show"},
		"name with another's key":         {named, auth.PublishRequest{Name: "other", Query: "key=s3cret"}, ""},
		"name without key":                {named, auth.PublishRequest{Name: "show"}, ""},
		"too many keys":                   {plain, auth.PublishRequest{Name: "a", Query: strings.Repeat("key=x&", 4) + "key=s3cret"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tt.rules.Decide(tt.req)
			if got != tt.want {
				t.Errorf("name %q, want %q", got, tt.want)
			}
			if (err != nil) != (tt.want == "") || err != nil && !errors.Is(err, auth.ErrDenied) {
				t.Errorf("error %v", err)
			}
			if err != nil && (strings.Contains(err.Error(), "s3cre") || strings.Contains(err.Error(), "first")) {
				t.Errorf("the error shows a key: %v", err)
			}
		})
	}
}

func TestKeyPrintsNoSecret(t *testing.T) {
	k := auth.NewKey("show", "s3cret")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, k); strings.Contains(s, "s3cret") {
			t.Errorf("%s prints %q", verb, s)
		}
	}
}

func TestPlay(t *testing.T) {
	for _, tt := range []struct {
		rules           auth.PlayRules
		loopback, allow bool
	}{
		{auth.PlayRules{}, true, false},
		{auth.PlayRules{Public: true}, false, true},
		{auth.PlayRules{Loopback: true}, true, true},
		{auth.PlayRules{Loopback: true}, false, false},
	} {
		err := tt.rules.Decide("live", tt.loopback)
		if (err == nil) != tt.allow || err != nil && !errors.Is(err, auth.ErrDenied) {
			t.Errorf("%+v from loopback %v: %v", tt.rules, tt.loopback, err)
		}
	}
}
