//go:build system

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// A server of an ordinary user loses and regains the permission to read its
// directory, before and while a generation is live.
func TestServerTellsOfLostPermission(t *testing.T) {
	if dir := os.Getenv("PROMOSERVE_TEST_PROCESS"); dir != "" {
		os.Args = []string{"promoserve", "--data", dir, "--listen", "127.0.0.1:0", "--log-format", "json", "--poll", "5ms", "--drain", "0s"}
		main()
	}
	s := newServer(t)
	s.build(t, "9.68")
	for _, path := range []string{s.dir, os.Args[0]} {
		for path = filepath.Dir(path); path != os.TempDir() && path != "/"; path = filepath.Dir(path) {
			must(t, os.Chmod(path, 0o755))
		}
	}
	must(t, os.Chmod(s.dir, 0o700))
	temp := t.TempDir() // of the test program
	must(t, os.Chown(temp, 65534, 65534))
	must(t, os.Chmod(filepath.Dir(temp), 0o755))
	process := exec.Command(os.Args[0], "-test.run=^TestServerTellsOfLostPermission$")
	process.Dir = "/"
	process.Env = append(os.Environ(), "PROMOSERVE_TEST_PROCESS="+s.dir, "TMPDIR="+temp)
	process.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	s.startProcess(t, process)

	const reason = "the directory cannot be read: permission denied"
	if line := s.await(t, "no generation is live"); line["level"] != "WARN" || line["error"] != "no generation: "+reason {
		t.Errorf("log: %v", line)
	}
	s.want(t, "http", "/readyz", 503, `{"error":"no generation: `+reason+`"}`)
	must(t, os.Chmod(s.dir, 0o755))
	s.await(t, "generation live")
	s.await(t, "directory can be read again")

	must(t, os.Chmod(s.dir, 0o700))
	if line := s.await(t, "directory cannot be read"); line["level"] != "ERROR" {
		t.Errorf("log: %v", line)
	}
	s.want(t, "http", "/readyz", 200, `{"status":"ready"}`)
	if st := s.status(t); st["problem"] != reason || st["deleted"] != nil {
		t.Errorf("/status: %v", st)
	}
	s.build(t, "1.00")
	must(t, os.Chmod(s.dir, 0o755))
	s.await(t, "generation live")
	if st := s.status(t); st["problem"] != nil {
		t.Errorf("/status: %v", st)
	}
	must(t, process.Process.Signal(syscall.SIGTERM))
	s.await(t, "stopped")
	must(t, process.Wait())
}
