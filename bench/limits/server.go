package limits

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"promostore/bench/contest"
	"promostore/bench/machine"
)

// A Server is a promoserve, or another server with /readyz, that is ready.
type Server struct {
	Addr  string
	Ready time.Duration // from its start until /readyz said so

	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process has ended
	stderr bytes.Buffer  // only to be read then
}

// readyTime is how long a server may take to become ready.
const readyTime = 10 * time.Minute

// StartServer starts a promoserve of the directory dir, in the group g, which
// may be nil. The caller stops it.
func StartServer(ctx context.Context, env *contest.Env, g *machine.Group, dir string, flags ...string) (*Server, error) {
	return start(ctx, g, filepath.Join(env.Bin, "promoserve"), func(addr string) []string {
		return append([]string{"--data", dir, "--listen", addr, "--log-level", "warn", "--drain", "0s"}, flags...)
	})
}

func start(ctx context.Context, g *machine.Group, program string, args func(addr string) []string) (*Server, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: ln.Addr().String(), ended: make(chan struct{})}
	if err := ln.Close(); err != nil {
		return nil, err
	}
	if g != nil {
		s.cmd = g.Command(ctx, program, args(s.Addr)...)
	} else {
		s.cmd = execCommand(ctx, program, args(s.Addr)...)
	}
	s.cmd.Stderr = &s.stderr
	start := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.cmd.Wait() // ProcessState says how it ended
		close(s.ended)
	}()
	for {
		_, err := s.get(ctx, "/readyz")
		if err == nil {
			s.Ready = time.Since(start)
			return s, nil
		}
		select {
		case <-s.ended:
			return nil, fmt.Errorf("%s: %v: %s", program, s.cmd.ProcessState, bytes.TrimSpace(s.stderr.Bytes()))
		case <-time.After(time.Millisecond):
		}
		if time.Since(start) > readyTime {
			return nil, errors.Join(fmt.Errorf("%s is not ready after %v: %w", program, readyTime, err), s.Stop())
		}
	}
}

func (s *Server) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", path, resp.Status, body)
	}
	return body, err
}

// Metric is one of the figures at /prometheus.
func (s *Server) Metric(ctx context.Context, name string) (float64, error) {
	text, err := s.get(ctx, "/prometheus")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("no metric %s", name)
}

// Stop ends the server.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	<-s.ended
	if !s.cmd.ProcessState.Success() {
		return fmt.Errorf("%s: %v: %s", s.cmd.Path, s.cmd.ProcessState, bytes.TrimSpace(s.stderr.Bytes()))
	}
	return nil
}
