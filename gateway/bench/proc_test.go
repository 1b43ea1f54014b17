package bench_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"culvert/gateway/bench"
)

// machine writes a /proc with a server of three processes and a stranger.
func machine(t *testing.T, idle string) bench.Proc {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"stat": "cpu  100 20 30 " + idle + " 50 6 7 8 0 0\ncpu0 1 2 3 4\nintr 5\n",
		// utime 150, stime 50, cutime 7, cstime 3
		"10/stat":   "10 (a (b) c) S 1 10 10 0 -1 4194304 100 0 0 0 150 50 7 3 20 0 1 0 100 1000 250\n",
		"10/status": "Name:\ta (b) c\nVmPeak:\t  9999 kB\nVmRSS:\t    2048 kB\nThreads:\t1\n",
		"11/stat":   "11 (worker) R 10 10 10 0 -1 4194304 100 0 0 0 10 5 0 0 20 0 1 0 100 1000 250\n",
		"11/status": "Name:\tworker\nVmRSS:\t    1024 kB\n",
		"12/stat":   "12 (grandchild) R 11 10 10 0 -1 4194304 100 0 0 0 1 1 0 0 20 0 1 0 100 1000 250\n",
		"12/status": "Name:\tgrandchild\n", // a kernel thread has no memory
		"99/stat":   "99 (stranger) R 1 99 99 0 -1 4194304 100 0 0 0 999 999 0 0 20 0 1 0 100 1000 250\n",
		"99/status": "Name:\tstranger\nVmRSS:\t    4096 kB\n",
		"self/stat": "not a process by its number",
		"20/stat":   "20 (short) S 1 20",
		"21/stat":   "nothing at all",
		"22/stat":   "22 (words) S one 22 22 0 -1 4194304 100 0 0 0 a b c d 20 0 1 0\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return bench.Proc{Root: root}
}

func TestProcUsage(t *testing.T) {
	p := machine(t, "500")
	got, err := p.Usage(10)
	want := bench.Usage{CPU: (150 + 50 + 7 + 3 + 10 + 5 + 1 + 1) * 10 * time.Millisecond, RSS: 3 << 20}
	if err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if cpu, err := bench.ProcCPU(p, 10); err != nil || cpu != 2100*time.Millisecond {
		t.Errorf("process alone: %v, %v", cpu, err)
	}
	for _, pid := range []int{20, 21, 22} {
		if _, err := p.Usage(pid); err == nil {
			t.Errorf("process %d has no readable state and was measured", pid)
		}
	}
	if _, err := p.Usage(13); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a process that is not there: %v", err)
	}
}

func TestProcMachine(t *testing.T) {
	got, err := machine(t, "500").Machine()
	want := bench.Machine{Total: 7210 * time.Millisecond, Idle: 5500 * time.Millisecond, Steal: 80 * time.Millisecond}
	if err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if _, err := machine(t, "many").Machine(); err == nil {
		t.Error("a time that is no number was read")
	}
	if _, err := (bench.Proc{Root: t.TempDir()}).Machine(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without /proc: %v", err)
	}
}
