// Package interop has no code, only tests: real clients against a running gateway, and the test of the import directions.
//
// The tests with real clients build under the tag interop, which `make test` sets:
//
//	sh .ci/test ./gateway/interop                                                  # everything but the soak
//	sh .ci/test -run 'Matrix/^rtmpt$' ./gateway/interop                            # published over RTMPT only
//	CULVERT_SOAK=10m sh .ci/test -run Soak -timeout 15m ./gateway/interop
//	CULVERT_HOSTILE_LATENCY=20s go test -tags interop -run HostileLatency -v -timeout 30m ./gateway/interop   # frames beside 1,000 hostile connections
//	go test -tags interop ./gateway/interop -run Capture -capture DIR              # records what clients and gateway say
//	go test -tags interop ./gateway/interop -binary bin/culvert                    # this binary instead of a fresh build
//
// Each group of tests starts the binary as a process of its own, on ports the kernel chooses, with a configuration and a
// certificate chain made for it, and ends it by SIGTERM: an exit code other than 0, a panic or a report of the race detector fails the group.
// What a player recorded is compared packet by packet with what was published (frames_test.go says how).
// The test cache knows nothing of that binary: without .ci/test, add -count=1.
// A missing client skips its tests loudly; with CI=true it fails them.
package interop
