package tunnel_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"culvert/tunnel"
)

// TestScatteredRequests has a client with up to four requests unanswered, which makes
// them in any order and each on a connection of its own. Many of those are lost in the
// middle of the request or of the answer, and then it is repeated; some are repeated
// without need. Both directions arrive once and in order.
func TestScatteredRequests(t *testing.T) {
	t.Parallel()
	const size, window = 60 << 10, 4
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 5))
			b := newBench(t, tunnel.Config{MaxAnswer: 600, HoldSetup: 50 * time.Millisecond, Hold: 50 * time.Millisecond})
			if b.park = seed%2 == 1; b.park {
				b.srv.ParkAtOnce()
			}
			up, down := make([]byte, size), make([]byte, size)
			for i := range up {
				up[i], down[i] = byte(rng.Uint32()), byte(rng.Uint32())
			}
			var core bytes.Buffer
			b.core(func(c *tunnel.Conn, data []byte) {
				at := core.Len()
				core.Write(data)
				if at < size { // answers a byte with a byte
					_, _ = c.Write(down[at:min(core.Len(), size)])
				}
			})
			p := b.connect()
			id := p.open()
			p.post(idle(id, 0), "\x00")
			type call struct {
				path, body string
				mu         sync.Mutex
				answer     *reply
			}
			calls, next, got, lost := map[int]*call{}, 1, []byte(nil), 0
			rest := up
			for done, rounds := 1, 0; len(got) < size; rounds++ {
				if rounds > 2000 {
					t.Fatalf("seed %d: %d bytes of the core and %d of the client after %d rounds, at request %d: %v", seed, core.Len(), len(got), rounds, done, b.srv.Stats())
				}
				for next < done+window { // make requests
					c := &call{path: idle(id, next), body: "\x00"}
					if n := min(len(rest), rng.IntN(500)); n > 0 {
						c.path, c.body = send(id, next), string(rest[:n])
						rest = rest[n:]
					}
					calls[next] = c
					next++
				}
				for _, i := range rng.Perm(window) { // all that are not answered, in any order
					c := calls[done+i]
					c.mu.Lock()
					answered := c.answer != nil
					c.mu.Unlock()
					if answered && rng.IntN(10) > 0 {
						continue
					}
					raw := request(c.path, c.body)
					p := b.connect()
					if rng.IntN(3) == 0 { // lost in the request
						p.write(raw[:rng.IntN(len(raw))])
						_ = p.nc.Close()
						lost++
						continue
					}
					p.write(raw)
					b.t.Cleanup(func() { _ = p.nc.Close() })
					cut := rng.IntN(150)
					b.wg.Go(func() {
						if cut < 50 { // lost in the answer
							_, _ = p.br.Peek(1 + cut)
							_ = p.nc.Close()
							return
						}
						if r, err := p.read(); err == nil && r.status == 200 {
							c.mu.Lock()
							defer c.mu.Unlock()
							if c.answer != nil && r != *c.answer {
								t.Errorf("seed %d: %s was answered %.40q and %.40q", seed, c.path, c.answer.body, r.body)
							}
							c.answer = &r
						}
					})
				}
				time.Sleep(100 * time.Millisecond) // the bubble's: all that can happen has
				synctest.Wait()
				for calls[done].answer != nil {
					got = append(got, calls[done].answer.body[1:]...)
					delete(calls, done)
					done++
					if done == next {
						break
					}
				}
				if st := b.srv.Stats(); st.Sessions != 1 {
					t.Fatalf("seed %d: the session has ended after %d bytes: %v", seed, len(got), fmt.Sprint(st.Rejected))
				}
			}
			if !bytes.Equal(core.Bytes(), up) || !bytes.Equal(got, down) {
				t.Errorf("seed %d: the bytes differ: %d and %d arrived", seed, core.Len(), len(got))
			}
			if st := b.srv.Stats(); lost < 20 || st.Replays < 20 || st.Parked < 20 {
				t.Errorf("seed %d: %d lost, %d repeated, %d early: too few", seed, lost, st.Replays, st.Parked)
			}
		})
	}
}
