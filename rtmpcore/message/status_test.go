package message_test

import (
	"reflect"
	"testing"

	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/message"
)

func TestStatus(t *testing.T) {
	t.Parallel()

	for name, tt := range map[string]struct {
		status message.Status
		object amf.Object
	}{
		"all": {
			message.Status{
				Level:       message.LevelStatus,
				Code:        message.StatusPublishStart,
				Description: "Publishing.",
				Extra:       []amf.Pair{{Key: "details", Value: "cam"}, {Key: "n", Value: 1.0}},
			},
			amf.Object{
				{Key: "level", Value: "status"},
				{Key: "code", Value: "NetStream.Publish.Start"},
				{Key: "description", Value: "Publishing."},
				{Key: "details", Value: "cam"},
				{Key: "n", Value: 1.0},
			},
		},
		"least": {
			message.Status{Level: message.LevelError, Code: message.StatusPublishBadName},
			amf.Object{{Key: "level", Value: "error"}, {Key: "code", Value: "NetStream.Publish.BadName"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			if got := tt.status.Object(); !reflect.DeepEqual(got, tt.object) {
				t.Errorf("object %v, want %v", got, tt.object)
			}

			for _, v := range []any{
				tt.object, amf.ECMAArray(tt.object), amf.TypedObject{Object: tt.object}, amf.AMF3{Value: tt.object},
			} {
				if got, ok := message.ParseStatus(v); !ok || !reflect.DeepEqual(got, tt.status) {
					t.Errorf("%T: %+v, %v, want %+v", v, got, ok, tt.status)
				}
			}

			want := message.Command{Name: "onStatus", Args: []any{tt.object}}
			if got := tt.status.OnStatus(); !reflect.DeepEqual(got, want) {
				t.Errorf("onStatus %v, want %v", got, want)
			}
		})
	}
}

func TestParseStatusOfOthers(t *testing.T) {
	t.Parallel()

	for _, v := range []any{
		nil,
		"NetStream.Play.Start",
		amf.Object{},
		amf.Object{{Key: "level", Value: "status"}},
		amf.Object{{Key: "code", Value: 404.0}},
	} {
		if got, ok := message.ParseStatus(v); ok {
			t.Errorf("%v is %+v", v, got)
		}
	}

	got, ok := message.ParseStatus(amf.Object{
		{Key: "code", Value: "old"}, {Key: "level", Value: nil}, {Key: "code", Value: "new"},
	})

	want := message.Status{Code: "new", Extra: []amf.Pair{{Key: "level"}}}
	if !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v, want %+v", got, ok, want)
	}
}

// TestAnswers: answers carry the transaction ID and the type of their question.
func TestAnswers(t *testing.T) {
	t.Parallel()

	question := message.Command{AMF3: true, Name: "createStream", TransactionID: 4, Object: amf.Object{}, Args: []any{"x"}}

	got := question.Result(nil, 1.0)
	if want := (message.Command{AMF3: true, Name: "_result", TransactionID: 4, Args: []any{1.0}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}

	status := message.Status{Level: message.LevelError, Code: message.StatusCallFailed, Description: "Method not found (x)."}

	got = question.Fail(status)
	if want := (message.Command{
		AMF3: true, Name: "_error", TransactionID: 4, Args: []any{status.Object()},
	}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}

	if question.Arg(0) != "x" || question.Arg(1) != nil {
		t.Error("arguments")
	}
}

func TestEventNames(t *testing.T) {
	t.Parallel()

	seen := map[string]message.Event{}

	for _, tt := range messages {
		uc, ok := tt.msg.(message.UserControl)
		if !ok || uc.Event == 99 {
			continue
		}

		if got := uc.Event.String(); got != tt.name {
			t.Errorf("event %d is %s, want %s", uc.Event, got, tt.name)
		}

		seen[uc.Event.String()] = uc.Event
	}

	if len(seen) != 11 || message.Event(99).String() != "unknown" {
		t.Errorf("names: %v", seen)
	}
}
