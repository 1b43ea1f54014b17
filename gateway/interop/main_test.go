//go:build interop

package interop_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"culvert/testdata/pebble"
)

var (
	binaryFlag  = flag.String("binary", "", "the culvert binary to test; built anew when empty, with the race detector when the tests have it")
	captureFlag = flag.String("capture", "", "folder for TestCapture to write what clients and gateway say to each other")
)

// scratch lives as long as the test binary: the gateway's binary and the media all tests publish.
var scratch string

func TestMain(m *testing.M) {
	flag.Parse()
	// These tests wait for streams in real time more than they compute.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = f.Value.Set(strconv.Itoa(2 * runtime.GOMAXPROCS(0))) // a number is always taken
	}
	var err error
	if scratch, err = os.MkdirTemp("", "culvert-interop-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	options := []goleak.Option{goleak.Cleanup(func(code int) {
		os.RemoveAll(scratch)
		os.Exit(code)
	})}
	for _, f := range pebble.Leaks {
		options = append(options, goleak.IgnoreAnyFunction(f))
	}
	goleak.VerifyTestMain(launching{m}, options...)
}

// culvert returns the path of the binary under test.
func culvert(t *testing.T) string {
	t.Helper()
	path, err := buildCulvert()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var buildCulvert = sync.OnceValues(func() (string, error) {
	if *binaryFlag != "" {
		return filepath.Abs(*binaryFlag)
	}
	path := filepath.Join(scratch, "culvert")
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "go", append(args, "culvert/cmd/culvert")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build culvert/cmd/culvert: %w\n%s", err, out)
	}
	return path, nil
})

// packages says which Debian package brings a tool.
var packages = map[string]string{
	"ffmpeg":         "ffmpeg",
	"ffprobe":        "ffmpeg",
	"rtmpdump":       "rtmpdump",
	"nginx":          "nginx libnginx-mod-rtmp libnginx-mod-stream",
	"haproxy":        "haproxy",
	"squid":          "squid",
	"tinyproxy":      "tinyproxy",
	"unshare":        "util-linux",
	"gst-launch-1.0": "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad",
}

// need skips the test loudly where a client is missing, and fails it in CI.
func need(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		_, err := exec.LookPath(tool)
		switch {
		case err == nil:
		case !errors.Is(err, exec.ErrNotFound):
			t.Fatal(err)
		case os.Getenv("CI") == "true":
			t.Fatalf("%s is missing: apt-get install %s", tool, packages[tool])
		default:
			fmt.Fprintf(os.Stderr, "\n*** %s NOT RUN: %s is missing (apt-get install %s, or run: sh .ci/test)\n\n", t.Name(), tool, packages[tool])
			t.Skipf("%s is missing", tool)
		}
	}
}

// transports are the four ways in and out.
var transports = []string{"rtmp", "rtmps", "rtmpt", "rtmpts"}
