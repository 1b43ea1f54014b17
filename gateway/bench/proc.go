package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Proc reads what Linux tells about processes and the machine. The zero value
// reads /proc; on systems without it every method returns an error that is
// os.ErrNotExist.
type Proc struct {
	Root string // default /proc
}

// tick is the unit of processor times in /proc: sysconf(_SC_CLK_TCK) is 100 on
// every Linux of today. A load that uses only a few of them in the window has no
// figure worth the name.
const tick = 10 * time.Millisecond

// Usage is what a process and its descendants have used.
type Usage struct {
	CPU time.Duration // user and system, also of children that have ended
	RSS int64         // resident memory now, bytes
}

// Machine is what the processors of a machine did since its start.
type Machine struct {
	Total time.Duration
	Idle  time.Duration // waiting for devices included
	Steal time.Duration // taken by the hypervisor
}

func (p Proc) path(parts ...string) string {
	root := p.Root
	if root == "" {
		root = "/proc"
	}
	return filepath.Join(append([]string{root}, parts...)...)
}

// Usage returns what the process pid and its descendants have used.
func (p Proc) Usage(pid int) (Usage, error) {
	own, err := p.stat(pid)
	if err != nil {
		return Usage{}, err
	}
	parents, err := p.parents()
	if err != nil {
		return Usage{}, err
	}
	total := Usage{own.cpu, p.rss(pid)}
	for id := range parents {
		if !descends(parents, id, pid) {
			continue
		}
		s, err := p.stat(id)
		if err != nil {
			continue // has ended meanwhile
		}
		total.CPU += s.cpu
		total.RSS += p.rss(id)
	}
	return total, nil
}

// descends reports whether pid is a proper descendant of ancestor.
func descends(parents map[int]int, pid, ancestor int) bool {
	for range len(parents) { // the map is no snapshot and may hold a loop
		parent, ok := parents[pid]
		if !ok {
			return false
		}
		if parent == ancestor {
			return true
		}
		pid = parent
	}
	return false
}

// parents returns the parent of every process.
func (p Proc) parents() (map[int]int, error) {
	entries, err := os.ReadDir(p.path())
	if err != nil {
		return nil, err
	}
	parents := map[int]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, err := p.stat(pid); err == nil {
			parents[pid] = s.parent
		}
	}
	return parents, nil
}

type procStat struct {
	parent int
	cpu    time.Duration
}

// stat reads /proc/PID/stat, proc(5): the command's name stands in brackets and
// may hold anything; behind it state, parent, ..., and as fields 14 to 17 of the
// line utime, stime, cutime, cstime.
func (p Proc) stat(pid int) (procStat, error) {
	name := p.path(strconv.Itoa(pid), "stat")
	b, err := os.ReadFile(name)
	if err != nil {
		return procStat{}, err
	}
	end := bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[end+1:]))
	if end < 0 || len(fields) < 15 {
		return procStat{}, fmt.Errorf("%s: unknown form", name)
	}
	var (
		s    procStat
		sum  int64
		errs error
	)
	s.parent, errs = strconv.Atoi(fields[1])
	for _, f := range fields[11:15] {
		n, err := strconv.ParseInt(f, 10, 64)
		errs = errors.Join(errs, err)
		sum += n
	}
	s.cpu = time.Duration(sum) * tick
	return s, errs
}

// rss reads a process's resident memory, 0 if it has none or has ended.
func (p Proc) rss(pid int) int64 {
	b, err := os.ReadFile(p.path(strconv.Itoa(pid), "status"))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	value, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kib, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}

// Machine returns what the machine's processors did.
func (p Proc) Machine() (Machine, error) {
	name := p.path("stat")
	b, err := os.ReadFile(name)
	if err != nil {
		return Machine{}, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return Machine{}, fmt.Errorf("%s: unknown form", name)
	}
	// user nice system idle iowait irq softirq steal; guests count as user already
	var times [8]time.Duration
	for i := range times {
		n, err := strconv.ParseInt(fields[i+1], 10, 64)
		if err != nil {
			return Machine{}, fmt.Errorf("%s: %w", name, err)
		}
		times[i] = time.Duration(n) * tick
	}
	m := Machine{Idle: times[3] + times[4], Steal: times[7]}
	for _, t := range times {
		m.Total += t
	}
	return m, nil
}
