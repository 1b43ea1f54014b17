package gateway_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"culvert/configs"
	"culvert/gateway"
	"culvert/rtmpcore/amf"
	"culvert/rtmpcore/handshake"
	"culvert/rtmpcore/message"
)

// chunkHeader is a type 0 header.
func chunkHeader(csid byte, typeID uint8, length int) []byte {
	return []byte{csid, 0, 0, 0, byte(length >> 16), byte(length >> 8), byte(length), typeID, 1, 0, 0, 0}
}

// TestCapsCloseCountAndSayWhy goes one beyond each cap that ends an RTMP
// connection: the connection is closed, the log has one line with the reason,
// the metrics count it.
func TestCapsCloseCountAndSayWhy(t *testing.T) {
	cfg, log := config(t), new(logBuffer)
	cfg.Limits.ChunkStreams, cfg.Limits.AMFDepth, cfg.Limits.AMFValues = 8, 4, 64
	patient, _ := start(t, cfg, gateway.Options{Log: zerolog.New(log)})
	cfg.Limits.HandshakeTimeout = configs.Duration(300 * time.Millisecond)
	cfg.Limits.IdleTimeout = configs.Duration(400 * time.Millisecond)
	hasty, _ := start(t, cfg, gateway.Options{Log: zerolog.New(log)})

	deep := any(1.0)
	for range 5 {
		deep = amf.Object{{Key: "x", Value: deep}}
	}
	var streams []byte
	for csid := byte(3); csid < 12; csid++ {
		streams = append(append(streams, chunkHeader(csid, 8, 1)...), 0)
	}
	// Set Chunk Size 1, then messages that never end: each holds memory.
	partial := append(chunkHeader(2, 1, 4), 0, 0, 0, 1)
	for csid := byte(3); csid < 10; csid++ {
		partial = append(append(partial, chunkHeader(csid, 20, 250_000)...), 0)
		for range 70_000 {
			partial = append(partial, 3<<6|csid, 0)
		}
	}
	for reason, send := range map[string][]byte{
		"message_length":    chunkHeader(6, 9, 256<<10+1), // no publisher: held to limits.command
		"chunk_streams":     streams,
		"partial_bytes":     partial,
		"amf":               encode(t, 0, message.Command{Name: "x", TransactionID: 1, Object: deep}),
		"protocol":          {3<<6 | 5},
		"handshake_timeout": {},
		"rtmpe":             nil,
		"idle_timeout":      connectCommand(t),
	} {
		t.Run(reason, func(t *testing.T) {
			g := patient
			if strings.HasSuffix(reason, "_timeout") {
				g = hasty
			}
			before := g.Snapshot().Rejected[reason]
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", g.Addr("rtmp").String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if send == nil {
				_, err = conn.Write(append([]byte{6}, make([]byte, 1536)...))
			} else if _, err = handshake.Client(conn, handshake.ClientConfig{}); err == nil {
				_, err = conn.Write(send)
			}
			if err != nil && reason != "partial_bytes" { // may be closed while we still write
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Fatalf("the connection was not closed: %v", err)
			}
			waitForRejected(t, g, reason, before+1)
			if got := g.Snapshot().Rejected[reason]; got != before+1 {
				t.Errorf("counted %d times", got-before)
			}
		})
	}
	if n := strings.Count(log.String(), `"message":"closed"`); n != 8 {
		t.Errorf("%d lines for 8 closed connections:\n%s", n, log)
	}
}
