package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// A process handles real signals, and a live file that is truncated in place.
func TestProcessSurvivesTruncatedFile(t *testing.T) {
	if os.Getenv("PROMOSERVE_TEST_PROCESS") != "" {
		os.Args = []string{"promoserve", "--data", os.Getenv("PROMOSERVE_TEST_PROCESS"), "--listen", "127.0.0.1:0", "--log-format", "json",
			"--poll", "1h", "--access", "mmap", "--drain", "0s"}
		main()
	}
	s := newServer(t)
	s.build(t, "9.68")
	process := exec.Command(os.Args[0], "-test.run=^TestProcessSurvivesTruncatedFile$")
	process.Env = append(os.Environ(), "PROMOSERVE_TEST_PROCESS="+s.dir)
	s.startProcess(t, process)
	s.await(t, "generation live")
	s.want(t, "http", "/promotions/"+exampleID, 200, fmt.Sprintf(exampleJSON, "9.68"))

	s.build(t, "1.00")
	must(t, process.Process.Signal(syscall.SIGHUP))
	path := s.await(t, "generation live")["file"].(string)
	s.want(t, "http", "/promotions/"+exampleID, 200, fmt.Sprintf(exampleJSON, "1.00"))
	must(t, os.Truncate(path, 100))
	s.want(t, "http", "/promotions/"+exampleID, 503, `{"error":"the generation cannot be read"}`)
	s.await(t, "generation demoted")
	s.await(t, "generation live")
	s.want(t, "http", "/promotions/"+exampleID, 200, fmt.Sprintf(exampleJSON, "9.68"))

	must(t, process.Process.Signal(syscall.SIGTERM))
	s.await(t, "stopped")
	for range s.logged {
	}
	if err := process.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
}
