package bench

// through is a fan-out to players that each come through a proxy to one server.
func through(proxy string, count int, transport string) load {
	return fanout(proxy, count, "").on(transport)
}

// into is publishers that each go through a proxy to one server.
func into(proxy string, count int) load {
	l := simple(proxy, Publishers, count)
	l.rate = mbit
	return l
}

const proxyStreams = 200

// crowdOf is so many players that they can do little but be there: over the tunnel they
// ask rarely once they play.
func crowdOf(proxy, transport string) load {
	l := through(proxy, 5000, transport)
	l.rate, l.fps, l.silent, l.env = 8*kbit, 1, true, "CULVERT_LIMITS_CONNECTIONS_PER_ADDRESS=20000"
	if l.poll > 0 {
		l.joinPoll, l.poll = l.poll, fewPolls
		l.env += " CULVERT_LIMITS_TUNNEL_SESSIONS=20000 CULVERT_LIMITS_TUNNEL_SESSIONS_PER_ADDRESS=20000"
	}
	return l
}

// proxyGoals are the lines about the gateway in front of other servers. Every stream
// is a session of its own at the server behind, whose work is not counted.
var proxyGoals = []goal{
	{name: "proxy", what: "transparent, 200 publishers, CPU/Gbit ÷ HAProxy", figure: CPUPerGbit, run: into(proxyTransparent, proxyStreams), base: per(into(proxyHAProxy, proxyStreams)), limit: 1},
	{name: "proxy", what: "transparent, 200 players, CPU/Gbit ÷ HAProxy", figure: CPUPerGbit, run: through(proxyTransparent, proxyStreams, "rtmp"), base: per(through(proxyHAProxy, proxyStreams, "rtmp")), limit: 1},
	{name: "proxy", what: "the same ÷ nginx stream", figure: CPUPerGbit, run: through(proxyTransparent, proxyStreams, "rtmp"), base: per(through(proxyNginxStream, proxyStreams, "rtmp")), none: true},
	{name: "proxy", what: "routed, 200 publishers, CPU/Gbit ÷ transparent", figure: CPUPerGbit, run: into(proxyRouted, proxyStreams), base: per(into(proxyTransparent, proxyStreams)), limit: 1.5},
	{name: "proxy", what: "routed, 200 players, CPU/Gbit ÷ transparent", figure: CPUPerGbit, run: through(proxyRouted, proxyStreams, "rtmp"), base: per(through(proxyTransparent, proxyStreams, "rtmp")), limit: 1.5},
	{name: "proxy", what: "latency that transparent adds, 200 players, p99, ms", figure: VideoP99, run: through(proxyTransparent, proxyStreams, "rtmp"), base: per(through(gatewayName, proxyStreams, "rtmp")), added: true, limit: 2},
	{name: "proxy", what: "latency that routed adds, 200 players, p99, ms", figure: VideoP99, run: through(proxyRouted, proxyStreams, "rtmp"), base: per(through(gatewayName, proxyStreams, "rtmp")), added: true, limit: 5},
	{name: "proxy", what: "latency that HAProxy adds, 200 players, p99, ms", figure: VideoP99, run: through(proxyHAProxy, proxyStreams, "rtmp"), base: per(through(gatewayName, proxyStreams, "rtmp")), added: true, none: true},
	{name: "proxytls", what: "RTMPS to RTMP, 200 players, CPU/Gbit ÷ HAProxy", figure: CPUPerGbit, run: through(proxyTransparent, proxyStreams, "rtmps"), base: per(through(proxyHAProxy, proxyStreams, "rtmps")), limit: 1.2},
	{name: "proxytls", what: "the same ÷ stunnel", figure: CPUPerGbit, run: through(proxyTransparent, proxyStreams, "rtmps"), base: per(through(proxyStunnel, proxyStreams, "rtmps")), limit: 1},
	{name: "proxytunnel", what: "RTMPT to RTMP, 100 players, routed, CPU/Gbit ÷ served here", figure: CPUPerGbit, run: through(proxyRouted, 100, "rtmpt"), base: per(through(gatewayName, 100, "rtmpt")), limit: 1.2},
	{name: "proxytunnel", what: "RTMPT to RTMP, 100 players, transparent, CPU/Gbit ÷ served here", figure: CPUPerGbit, run: through(proxyTransparent, 100, "rtmpt"), base: per(through(gatewayName, 100, "rtmpt")), limit: 1.2},
	{name: "proxymemory", what: "memory per session of 500, transparent, KiB", figure: RSSPerSession, run: into(proxyTransparent, 500).slow(), limit: 40},
	{name: "proxymemory", what: "memory per session of 500, routed, KiB", figure: RSSPerSession, run: into(proxyRouted, 500).slow(), limit: 40},
	{name: "proxycrowd", what: "memory per session of 5,000, transparent, KiB", figure: RSSPerSession, run: crowdOf(proxyTransparent, "rtmp"), limit: 40},
	{name: "proxycrowd", what: "memory per session of 5,000, routed, KiB", figure: RSSPerSession, run: crowdOf(proxyRouted, "rtmp"), limit: 40},
	{name: "proxycrowdtunnel", what: "memory per session of 5,000, RTMPT, transparent, KiB", figure: RSSPerSession, run: crowdOf(proxyTransparent, "rtmpt"), limit: 40},
	{name: "proxycrowdtunnel", what: "memory per session of 5,000, RTMPT, routed, KiB", figure: RSSPerSession, run: crowdOf(proxyRouted, "rtmpt"), limit: 40},
	{name: "proxycrowdtls", what: "memory per session of 5,000, RTMPS, transparent, KiB", figure: RSSPerSession, run: crowdOf(proxyTransparent, "rtmps"), limit: 70},
	{name: "proxycrowdtls", what: "memory per session of 5,000, RTMPS, routed, KiB", figure: RSSPerSession, run: crowdOf(proxyRouted, "rtmps"), limit: 70},
	{name: "proxycrowd", what: "memory per session of 5,000, HAProxy, KiB", figure: RSSPerSession, run: crowdOf(proxyHAProxy, "rtmp"), none: true},
	{name: "proxytls", what: "memory per session, RTMPS, transparent, KiB", figure: RSSPerSession, run: through(proxyTransparent, proxyStreams, "rtmps"), limit: 70},
}

// slow is a load of many streams that each are next to nothing.
func (l load) slow() load {
	l.rate = 100 * kbit
	return l
}
