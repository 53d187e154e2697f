package serving

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"promostore/bench/contest"
)

// A process is a program that runs until it is stopped, with the processes
// that it starts: they are a group of their own.
type process struct {
	name   string
	pid    int // of the group too
	log    string
	exited chan struct{}
	err    error // valid when exited is closed
}

// start runs a program. What it prints goes to a file in env.Dir. It is told
// to end when this process dies.
func start(env *contest.Env, name, path string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(env.Dir, name+".log"), exited: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	c := exec.Command(path, args...)
	c.Stdout, c.Stderr = out, out
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p.pid = c.Process.Pid
	go func() {
		p.err = c.Wait()
		close(p.exited)
	}()
	return p, nil
}

// stop ends the process, by force if it takes long.
func (p *process) stop() error {
	const patience = 10 * time.Second
	if err := syscall.Kill(p.pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(patience):
	}
	err := fmt.Errorf("%s: did not end in %v", p.name, patience)
	if killErr := syscall.Kill(-p.pid, syscall.SIGKILL); killErr != nil {
		return errors.Join(err, killErr)
	}
	<-p.exited
	return err
}

// until calls ready until it returns nil.
func (p *process) until(ctx context.Context, ready func() error) error {
	const patience = 60 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.exited:
			return fmt.Errorf("%s: ended: %w: %s", p.name, p.err, p.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s: not ready: %w: %w: %s", p.name, ctx.Err(), err, p.tail())
		}
	}
}

// listening waits until addr takes connections.
func (p *process) listening(ctx context.Context, addr string) error {
	return p.until(ctx, func() error {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// tail is the end of what the process printed.
func (p *process) tail() string {
	const most = 2000
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(bytes.TrimSpace(b[max(0, len(b)-most):]))
}

// Fields of /proc/<pid>/stat (proc_pid_stat(5)), counted from the one behind
// the name, which may have spaces.
const (
	statGroup  = 2
	statUser   = 11
	statSystem = 12
	clockTicks = 100 // a second, on every architecture that Go has
)

// cpuSeconds is what the processes of the group used so far.
func (p *process) cpuSeconds() (float64, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	total, found := 0.0, false
	for _, path := range stats {
		group, seconds, err := cpuSecondsOf(path)
		if err != nil || group != p.pid {
			continue // another's, or ended
		}
		total, found = total+seconds, true
	}
	if !found {
		return 0, fmt.Errorf("%s: ended: %s", p.name, p.tail())
	}
	return total, nil
}

// cpuSecondsOf reads /proc/<pid>/stat.
func cpuSecondsOf(path string) (group int, seconds float64, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) <= statSystem {
		return 0, 0, fmt.Errorf("%s: %q", path, b)
	}
	group, err1 := strconv.Atoi(fields[statGroup])
	user, err2 := strconv.Atoi(fields[statUser])
	system, err3 := strconv.Atoi(fields[statSystem])
	return group, float64(user+system) / clockTicks, errors.Join(err1, err2, err3)
}

// freeAddr is an address on the loopback interface that nobody listens on.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// version is what the program prints about itself: the first line.
func version(ctx context.Context, path string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", path, err, out)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line), nil
}
