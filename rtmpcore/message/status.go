package message

import "culvert/rtmpcore/amf"

// Levels of a Status. ffmpeg gives up on every LevelError.
const (
	LevelStatus  = "status"
	LevelWarning = "warning"
	LevelError   = "error"
)

// Status is an information object: what onStatus and answers report, RTMP 1.0
// §7.2.
type Status struct {
	Level       string // LevelStatus, LevelWarning or LevelError
	Code        string // such as StatusPublishStart
	Description string // for people; left out when empty
	Extra       []amf.Pair
}

// Object returns level, code, description and Extra, in this order.
func (s Status) Object() amf.Object {
	o := make(amf.Object, 0, 3+len(s.Extra))
	o = append(o, amf.Pair{Key: keyLevel, Value: s.Level}, amf.Pair{Key: keyCode, Value: s.Code})

	if s.Description != "" {
		o = append(o, amf.Pair{Key: keyDescription, Value: s.Description})
	}

	return append(o, s.Extra...)
}

// OnStatus returns the command that reports s: onStatus with transaction ID 0.
// Its AMF3 is for the caller to set.
func (s Status) OnStatus() Command {
	return Command{Name: NameOnStatus, Args: []any{s.Object()}}
}

// ParseStatus reads an information object, or associative array, as received in
// either family. It is false when v is none or has no code. Extra is the rest, in
// order.
func ParseStatus(v any) (Status, bool) {
	o, ok := amf.AsObject(v)
	if !ok {
		return Status{}, false
	}

	var s Status

	for _, p := range o {
		field := s.field(p.Key)
		text, ok := amf.Unwrap(p.Value).(string)

		if field == nil || !ok {
			s.Extra = append(s.Extra, p)
		} else {
			*field = text
		}
	}

	return s, s.Code != ""
}

func (s *Status) field(key string) *string {
	switch key {
	case keyLevel:
		return &s.Level
	case keyCode:
		return &s.Code
	case keyDescription:
		return &s.Description
	default:
		return nil
	}
}

const (
	keyLevel       = "level"
	keyCode        = "code"
	keyDescription = "description"
)
