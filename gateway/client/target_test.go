package client_test

import (
	"strings"
	"testing"

	"culvert/gateway/client"
)

func TestParseTarget(t *testing.T) {
	for raw, want := range map[string]client.Target{
		"rtmp://host/live/a":                  {Scheme: "rtmp", Host: "host", Port: "1935", App: "live", Name: "a"},
		"rtmpe://host/live/a":                 {Scheme: "rtmpe", Host: "host", Port: "1935", App: "live", Name: "a"},
		"rtmpte://host/live/a":                {Scheme: "rtmpte", Host: "host", Port: "80", App: "live", Name: "a"},
		"rtmps://host/live/a":                 {Scheme: "rtmps", Host: "host", Port: "443", App: "live", Name: "a"},
		"rtmpt://host:8080/live/room/a?key=x": {Scheme: "rtmpt", Host: "host", Port: "8080", App: "live/room", Name: "a?key=x"},
		"rtmp://u%40:p%3a@host/live/a":        {Scheme: "rtmp", Host: "host", Port: "1935", App: "live", Name: "a", User: "u@", Password: "p:"},
		"rtmpts://[::1]:8443/live/a/":         {Scheme: "rtmpts", Host: "::1", Port: "8443", App: "live", Name: "a"},
	} {
		got, err := client.ParseTarget(raw)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", raw, got, err)
		}
	}
	for _, raw := range []string{"", "host/live/a", "http://host/live/a", "rtmp:///live/a", "rtmp://host", "rtmp://host/live", "rtmp://ho st/live/a?key=s3cret", "rtmp://host/live?key=s3cret"} {
		_, err := client.ParseTarget(raw)
		if err == nil {
			t.Errorf("%q is taken", raw)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: the error repeats the key: %v", raw, err)
		}
	}
	if s := (client.Target{Scheme: "rtmp", Host: "host", Port: "1935", App: "live", Name: "s3cret?key=s3cret", User: "u", Password: "s3cret"}).String(); s != "rtmp://host:1935/live" {
		t.Errorf("shown as %s", s)
	}
}
