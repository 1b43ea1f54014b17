package rtmpcore

import (
	"math"
	"net/url"
	"slices"
	"strings"

	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/message"
)

// ConnectRequest is what a client says in its connect command (RTMP 1.0
// §7.2.1.1, E-RTMP v2). Strings are as the peer sent them except for App.
type ConnectRequest struct {
	App            string // without query, surrounding slashes and the default instance
	RawApp         string // as the client sent it
	Query          string // of app and tcUrl, joined with "&"
	TCURL          string
	FlashVer       string
	SWFURL         string
	PageURL        string
	ObjectEncoding float64
	Object         amf.Object // all of the command object
	Args           []any      // further arguments of the command; see amf.Unwrap

	Enhanced bool // the client announced E-RTMP abilities
	CapsEx   int  // E-RTMP v2 capability bits
}

// Bits of ConnectRequest.CapsEx (E-RTMP v2).
const (
	CapsReconnect           = 1
	CapsMultitrack          = 2
	CapsModEx               = 4
	CapsTimestampNanoOffset = 8
)

// defaultInstance is the name of an application's only instance, which Flash
// clients may append.
const defaultInstance = "_definst_"

func parseConnect(object amf.Object, args []any) *ConnectRequest {
	text := func(keys ...string) string {
		for _, k := range keys {
			if s, ok := object.String(k); ok {
				return s
			}
		}
		return ""
	}
	req := &ConnectRequest{
		TCURL:    strings.Trim(text("tcUrl", "tcurl"), `"' `),
		FlashVer: text("flashVer", "flashver"),
		SWFURL:   text("swfUrl", "swfurl"),
		PageURL:  text("pageUrl", "pageurl"),
		RawApp:   text("app"),
		Object:   object,
		Args:     args,
	}
	req.ObjectEncoding, _ = object.Number("objectEncoding")
	app, query, _ := strings.Cut(req.RawApp, "?")
	_, urlQuery, _ := strings.Cut(req.TCURL, "?")
	req.Query = joinQueries(query, urlQuery)
	app = strings.Trim(app, "/")
	app = strings.TrimSuffix(strings.TrimSuffix(app, defaultInstance), "/")
	req.App = app
	for _, k := range []string{"fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap", "capsEx"} {
		if _, ok := object.Lookup(k); ok {
			req.Enhanced = true
		}
	}
	if caps, ok := object.Number("capsEx"); ok && caps >= 0 && caps <= math.MaxUint16 {
		req.CapsEx = int(caps)
	}
	return req
}

// Host returns the host name that the client connected to, as tcUrl has it, or
// "".
func (r *ConnectRequest) Host() string {
	u, err := url.Parse(r.TCURL)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// joinQueries puts query strings together; a client may repeat the same one in
// app, tcUrl and stream name.
func joinQueries(parts ...string) string {
	var kept []string
	for _, p := range parts {
		if p == "" {
			continue
		}
		repeated := false
		for _, k := range kept {
			repeated = repeated || k == p
		}
		if !repeated {
			kept = append(kept, p)
		}
	}
	return strings.Join(kept, "&")
}

// splitName parts a stream name from its query.
func splitName(s string) (name, query string) {
	name, query, _ = strings.Cut(s, "?")
	return name, query
}

// capsOffered are the E-RTMP abilities of this server: it forwards multitrack
// and ModEx packets as they are.
const capsOffered = CapsMultitrack | CapsModEx | CapsTimestampNanoOffset

// fourCCForward says that every codec is forwarded (E-RTMP v2: CanForward).
const fourCCForward = 4

// serverVersion is the version that clients are shown. Some look for features
// by it: Adobe's server had H.264 and AAC since 3.0.
const serverVersion = "3,5,1,516"

// connectResult is the _result that accepts connect. It is the same for all clients
// but for the transaction ID; those that announced E-RTMP are answered in it.
type connectResult struct {
	amf3          bool
	transactionID float64
	enhanced      bool
}

// connectObjects are what follows the transaction ID: properties and information, the
// second time with what E-RTMP adds.
var connectObjects = [2][]byte{encodeConnectObjects(nil), encodeConnectObjects(amf.Object{
	{Key: "fourCcList", Value: amf.StrictArray{"*"}},
	{Key: "videoFourCcInfoMap", Value: amf.Object{{Key: "*", Value: float64(fourCCForward)}}},
	{Key: "audioFourCcInfoMap", Value: amf.Object{{Key: "*", Value: float64(fourCCForward)}}},
	{Key: "capsEx", Value: float64(capsOffered)},
})}

func encodeConnectObjects(more amf.Object) []byte {
	b, err := amf.AppendAll(nil,
		append(amf.Object{
			{Key: "fmsVer", Value: "FMS/" + serverVersion},
			{Key: "capabilities", Value: 31.0},
			{Key: "mode", Value: 1.0},
		}, more...),
		append(amf.Object{
			{Key: "level", Value: message.LevelStatus},
			{Key: "code", Value: message.StatusConnectSuccess},
			{Key: "description", Value: "Connection succeeded."},
			{Key: "objectEncoding", Value: 0.0},
			{Key: "data", Value: amf.ECMAArray{{Key: "version", Value: serverVersion}}},
		}, more...),
	)
	if err != nil {
		panic("rtmpcore: the answer to connect cannot be encoded: " + err.Error())
	}
	return b
}

// TypeID implements [message.Message].
func (r connectResult) TypeID() uint8 { return message.Command{AMF3: r.amf3}.TypeID() }

// AppendPayload implements [message.Message].
func (r connectResult) AppendPayload(dst []byte) ([]byte, error) {
	objects := connectObjects[0]
	if r.enhanced {
		objects = connectObjects[1]
	}
	dst = slices.Grow(dst, 32+len(objects))
	if r.amf3 {
		dst = append(dst, 0)
	}
	dst, err := amf.AppendAll(dst, message.NameResult, r.transactionID)
	return append(dst, objects...), err
}
