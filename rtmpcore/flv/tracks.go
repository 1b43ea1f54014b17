package flv

import "encoding/binary"

// Track is one track of a payload.
type Track struct {
	// ID is the track's number; 0 is the default track, and the only one of
	// payloads that are not multitrack.
	ID uint8
	// Codec of this track.
	Codec Codec
	// CompositionTime is what to add to the timestamp for presentation, in
	// milliseconds; 0 for audio and for codecs that have none.
	CompositionTime int32
	// Body is the media data, a part of the payload. It is shorter than the track
	// when the payload given ended early.
	Body []byte
}

// TrackIterator goes through the tracks of one payload.
type TrackIterator struct {
	rest   []byte
	first  Track // what the payload says once for all tracks
	layout MultitrackType
	multi  bool
	timed  bool // tracks may begin with a composition time
	done   bool
}

// Next returns the next track, and false after the last. It ends early where the
// payload does, also in the middle of a track's header.
func (it *TrackIterator) Next() (Track, bool) {
	if it.done {
		return Track{}, false
	}

	t := it.first

	if !it.multi {
		t.Body = it.rest
		it.done = true

		return t, true
	}

	if it.layout == ManyTracksManyCodecs {
		if len(it.rest) < 4 {
			return it.end()
		}

		t.Codec = Codec(binary.BigEndian.Uint32(it.rest))
		it.rest = it.rest[4:]
	}

	if len(it.rest) == 0 || it.layout > ManyTracksManyCodecs {
		return it.end()
	}

	t.ID = it.rest[0]
	t.Body = it.rest[1:]

	if it.layout == OneTrack {
		it.done = true
	} else {
		if len(t.Body) < 3 {
			return it.end()
		}

		end := min(3+int(uint24(t.Body)), len(t.Body))
		it.rest = t.Body[end:]
		t.Body = t.Body[3:end]
		it.done = len(it.rest) == 0
	}

	if it.timed && hasCompositionTime(t.Codec) && len(t.Body) >= 3 {
		t.CompositionTime = int24(t.Body)
		t.Body = t.Body[3:]
	}

	return t, true
}

func (it *TrackIterator) end() (Track, bool) {
	it.done = true

	return Track{}, false
}

// TrackSet is a set of track IDs. It is comparable; its zero value is empty.
//
// A relay that keeps the sequence headers of a stream for later players keeps
// whole messages, each with its set, in their order: a message replaces those
// whose sets it and the messages after them Cover together.
type TrackSet [4]uint64

// With returns s with id in it.
func (s TrackSet) With(id uint8) TrackSet {
	s[id>>6] |= 1 << (id & 63)

	return s
}

// Has tells whether id is in s.
func (s TrackSet) Has(id uint8) bool { return s[id>>6]&(1<<(id&63)) != 0 }

// Union returns what is in s or t.
func (s TrackSet) Union(t TrackSet) TrackSet {
	for i := range s {
		s[i] |= t[i]
	}

	return s
}

// Covers tells whether all of t is in s.
func (s TrackSet) Covers(t TrackSet) bool { return s.Union(t) == s }

func trackSet(it TrackIterator) (s TrackSet) {
	for t, ok := it.Next(); ok; t, ok = it.Next() {
		s = s.With(t.ID)
	}

	return s
}
