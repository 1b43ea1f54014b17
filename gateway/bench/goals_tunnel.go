package bench

import "time"

// The tunnel's goals. Sessions that poll are held by nobody here, so that the requests
// are counted and not the waiting; players are held, as the gateway does by itself.

const (
	fewPolls = 4 * time.Second // a slow client's pause: 10,000 sessions make 2,500 requests a second
	crowdAll = "CULVERT_LIMITS_TUNNEL_SESSIONS=20000 CULVERT_LIMITS_TUNNEL_SESSIONS_PER_ADDRESS=20000 CULVERT_LIMITS_CONNECTIONS_PER_ADDRESS=20000 " + noHold
)

// manyPolling is polling by more sessions than one address may have otherwise.
func manyPolling(server string) load {
	l := polling(server, 10000, fewPolls)
	if server == gatewayName {
		l.env = crowdAll
	}
	return l
}

// atOnce is a load whose tunnel clients make no pause.
func (l load) atOnce() load {
	l.poll = 0
	return l
}

func goodput(transport string) load {
	return simple(gatewayName, Goodput, 1).on(transport).atOnce()
}

var tunnelGoals = []goal{
	{name: "polls", what: "100 sessions polling at full speed, CPU per poll ÷ canned", figure: CPUPerRequest, run: polling(gatewayName, 100, 0), base: per(polling(FloorCanned, 100, 0)), limit: 1.8},
	{name: "polls", what: "net/http, the same", figure: CPUPerRequest, run: polling(FloorNetHTTP, 100, 0), base: per(polling(FloorCanned, 100, 0)), none: true},
	{name: "polls", what: "1,000 sessions polling after 500 ms, CPU per poll ÷ canned", figure: CPUPerRequest, run: polling(gatewayName, 1000, pollPause), base: per(polling(FloorCanned, 1000, pollPause)), limit: 1.8},
	{name: "polls", what: "net/http, the same", figure: CPUPerRequest, run: polling(FloorNetHTTP, 1000, pollPause), base: per(polling(FloorCanned, 1000, pollPause)), none: true},
	{name: "polls", what: "memory of each of them, KiB", figure: RSSPerSession, run: polling(gatewayName, 1000, pollPause), limit: 24},
	{name: "polls10000", what: "10,000 sessions polling after 4 s, CPU per poll ÷ canned", figure: CPUPerRequest, run: manyPolling(gatewayName), base: per(manyPolling(FloorCanned)), limit: 1.8},
	{name: "polls10000", what: "memory of each of them, KiB", figure: RSSPerSession, run: manyPolling(gatewayName), limit: 24},
	{name: "rtmpt", what: "RTMPT fan-out to 500, polling 20 ms, CPU/Gbit ÷ own RTMP, one write per message", figure: CPUPerGbit, run: fanout(gatewayName, 500, "").on("rtmpt"), base: per(fanout(gatewayName, 500, perMessage)), limit: 2.1},
	{name: "rtmpt", what: "memory per player of 500, RTMPT, KiB", figure: RSSPerSession, run: fanout(gatewayName, 500, "").on("rtmpt"), limit: 40},
	{name: "rtmpt", what: "latency RTMPT adds to RTMP, held polls, 100 players, p50, ms", figure: VideoP50, run: fanout(gatewayName, 100, "").on("rtmpt").atOnce(), base: per(fanout(gatewayName, 100, "")), added: true, limit: 5},
	{name: "rtmpt", what: "its p99, ms", figure: VideoP99, run: fanout(gatewayName, 100, "").on("rtmpt").atOnce(), base: per(fanout(gatewayName, 100, "")), added: true, limit: 30},
	{name: "tunnelgoodput", what: "goodput RTMPT ÷ own RTMP", figure: Mbit, run: goodput("rtmpt"), base: per(goodput("rtmp")), least: true, limit: 0.2},
	{name: "tunnelgoodput", what: "goodput RTMPTS ÷ own RTMPT", figure: Mbit, run: goodput("rtmpts"), base: per(goodput("rtmpt")), least: true, limit: 0.6},
	{name: "tunnelstorm", what: "connect over RTMPT, CPU per connection ÷ own RTMP", figure: CPUPerConnect, run: simple(gatewayName, Storm, 32).on("rtmpt").atOnce(), base: per(simple(gatewayName, Storm, 32)), limit: 2.0},
}
