package bench

import "time"

// Result is what a run found out.
type Result struct {
	Server    string   `json:"server"`
	Scenario  string   `json:"scenario"`
	Transport string   `json:"transport"`
	Count     int      `json:"count"`
	Seconds   float64  `json:"seconds"`           // length of the measured window
	Invalid   []string `json:"invalid,omitempty"` // why the figures mean nothing; empty: they do
	Notes     []string `json:"notes,omitempty"`   // what could not be measured, and what to keep in mind
	// Figures are by the keys of FigureList.
	Figures map[string]float64 `json:"figures"`
	Frames  FrameCounts        `json:"frames"`
	// Memory is the server's resident memory in MiB at the beginning of the window,
	// after each tenth of it (but no more often than every second) and at its end, for
	// sessions that stay.
	Memory []float64 `json:"memory_mib,omitempty"`
	// Ratios are those of Figures to a floor's, by its name and figure.
	Ratios map[string]map[string]float64 `json:"ratios,omitempty"`

	latency *Histogram // what the scenario is about: of video, polls or connects
}

// Keys of figures.
const (
	CPUPerGbit    = "cpu_s_per_gbit"
	ServerCores   = "server_cores"
	RSSEmpty      = "rss_empty_kib"
	RSSPerSession = "rss_per_session_kib"
	RSSGrowth     = "rss_growth_percent"
	VideoP50      = "video_p50_ms"
	VideoP95      = "video_p95_ms"
	VideoP99      = "video_p99_ms"
	VideoMax      = "video_max_ms"
	AudioP50      = "audio_p50_ms"
	AudioP99      = "audio_p99_ms"
	SetupP50      = "setup_p50_ms"
	SetupP95      = "setup_p95_ms"
	Mbit          = "mbit_per_s"
	Requests      = "requests_per_s"
	CPUPerRequest = "cpu_s_per_1000_requests"
	RequestP50    = "request_p50_ms"
	RequestP99    = "request_p99_ms"
	Connections   = "connections_per_s"
	CPUPerConnect = "cpu_ms_per_connection"
	ConnectP50    = "connect_p50_ms"
	ConnectP99    = "connect_p99_ms"
	LoadCores     = "load_cores"
	OtherCores    = "other_cores"
	IdlePercent   = "idle_percent"
	StealPercent  = "steal_percent"
)

// FigureList is every figure in the order of tables.
var FigureList = []struct {
	Key, Label string
	Ratio      bool // compared with a floor
}{
	{CPUPerGbit, "server CPU s/Gbit", true},
	{CPUPerRequest, "server CPU s/1000 requests", true},
	{CPUPerConnect, "server CPU ms/connection", true},
	{ServerCores, "server cores", false},
	{RSSEmpty, "RSS of the empty server, KiB", false},
	{RSSPerSession, "RSS per session, KiB", true},
	{RSSGrowth, "RSS growth in the window, %", false},
	{Mbit, "delivered Mbit/s", true},
	{Requests, "requests/s", true},
	{Connections, "connections/s", true},
	{VideoP50, "video latency p50, ms", true},
	{VideoP95, "video latency p95, ms", true},
	{VideoP99, "video latency p99, ms", true},
	{VideoMax, "video latency max, ms", false},
	{AudioP50, "audio latency p50, ms", false},
	{AudioP99, "audio latency p99, ms", false},
	{RequestP50, "request latency p50, ms", true},
	{RequestP99, "request latency p99, ms", true},
	{ConnectP50, "connect time p50, ms", true},
	{ConnectP99, "connect time p99, ms", true},
	{SetupP50, "set-up to first video frame p50, ms", true},
	{SetupP95, "set-up to first video frame p95, ms", true},
	{LoadCores, "load generator cores", false},
	{OtherCores, "other work on the machine, cores", false},
	{IdlePercent, "machine idle, %", false},
	{StealPercent, "machine stolen, %", false},
}

// Compare sets the ratios of r's figures to those of a floor.
func (r *Result) Compare(floor *Result) {
	ratios := map[string]float64{}
	for _, f := range FigureList {
		value, ok := r.Figures[f.Key]
		if base := floor.Figures[f.Key]; ok && f.Ratio && base > 0 {
			ratios[f.Key] = value / base
		}
	}
	if r.Ratios == nil {
		r.Ratios = map[string]map[string]float64{}
	}
	r.Ratios[floor.Server] = ratios
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
