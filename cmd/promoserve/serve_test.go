package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"promostore/cmd/internal/program"
	"promostore/format/generation"
)

func TestServerFollowsGenerationsFromEmptyDirectory(t *testing.T) {
	s := start(t, "--tls-self-signed", "--drain", "0s")
	s.want(t, "http", "/healthz", 200, `{"status":"ok"}`)
	s.await(t, "no generation is live")
	s.want(t, "http", "/readyz", 503, `{"error":"no generation yet: the directory does not exist"}`)
	s.want(t, "https", "/promotions/"+exampleID, 503, `{"error":"no generation is live"}`)
	for _, price := range []string{"9.68", "9.680"} {
		s.build(t, price)
		s.await(t, "generation live")
		for _, scheme := range []string{"http", "https"} {
			s.want(t, scheme, "/promotions/"+exampleID, 200, fmt.Sprintf(exampleJSON, price))
		}
	}
	s.await(t, "generation closed")

	// A bad generation is refused and the live one remains live.
	name := generation.Name{ID: generation.IDOf(time.Now().Add(time.Hour)), Shards: 1}
	must(t, os.WriteFile(filepath.Join(s.dir, name.String()), []byte("PROMOGEN"), 0o644))
	if line := s.await(t, "generation refused"); line["error"] == nil || line["generation"] != name.ID.String() {
		t.Errorf("log: %v", line)
	}
	s.want(t, "http", "/promotions/"+exampleID, 200, fmt.Sprintf(exampleJSON, "9.680"))

	s.signals <- syscall.SIGTERM
	s.await(t, "stopped")
	if code := s.awaitExit(t); code != program.ExitDone {
		t.Errorf("exit code %d", code)
	}
}

func TestFlagsOverrideEnvironment(t *testing.T) {
	t.Setenv("PROMO_PRICE_DECIMALS", "1")
	t.Setenv("PROMO_DATE_FORMAT", "utc")
	t.Setenv("PROMO_TLS_SELF_SIGNED", "true")
	t.Setenv("PROMO_TLS_ONLY", "true")
	t.Setenv("PROMO_ACCESS", "pread")
	s := start(t, "--date-format", "rfc3339", "--verify", "index") // flags override the environment
	s.build(t, "9.680")
	s.await(t, "generation live")
	s.want(t, "https", "/promotions/"+exampleID, 200, `{"id":"`+exampleID+`","price":9.6,"expiration_date":"2022-06-04T06:01:20Z"}`)
	s.want(t, "http", "/promotions/"+exampleID, 400, `{"error":"this port accepts https only"}`)
}

func TestDrainServesButIsNotReady(t *testing.T) {
	s := start(t, "--drain", "1h")
	s.build(t, "9.68")
	s.await(t, "generation live")
	s.signals <- syscall.SIGTERM
	s.await(t, "draining")
	s.want(t, "http", "/readyz", 503, `{"error":"draining"}`)
	s.want(t, "http", "/promotions/"+exampleID, 200, fmt.Sprintf(exampleJSON, "9.68"))
}

// The server listens for --drain, and answers a running request after that.
func TestDrainFinishesRunningRequests(t *testing.T) {
	s := start(t, "--drain", "300ms")
	s.build(t, "9.68")
	s.await(t, "generation live")
	c, err := net.Dial("tcp", s.address)
	must(t, err)
	defer c.Close()
	fmt.Fprintf(c, "GET /promotions/%s HTTP/1.1\r\nHost: x\r\n", exampleID)
	s.want(t, "http", "/readyz", 200, `{"status":"ready"}`)
	began := time.Now()
	s.signals <- syscall.SIGTERM
	s.await(t, "draining")
	// Probe until the server stops listening. Probes without a pause would fill the
	// queue of the listener and then wait long for an answer.
	for probes := time.NewTicker(10 * time.Millisecond); ; <-probes.C {
		probe, err := net.Dial("tcp", s.address)
		if err != nil {
			break
		}
		probe.Close()
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("the server listened for only %v", took)
	}
	fmt.Fprint(c, "\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, err)
	body, err := io.ReadAll(res.Body)
	must(t, err)
	if res.StatusCode != 200 || string(body) != fmt.Sprintf(exampleJSON, "9.68")+"\n" {
		t.Errorf("running request: %d %s", res.StatusCode, body)
	}
	if code := s.awaitExit(t); code != program.ExitDone {
		t.Errorf("exit code %d", code)
	}
}

// A second signal ends the drain, and SIGHUP is no second signal.
func TestSecondSignalEndsTheDrain(t *testing.T) {
	s := start(t, "--drain", "1h")
	s.signals <- syscall.SIGINT
	s.await(t, "draining")
	s.later(syscall.SIGHUP)
	s.later(syscall.SIGINT)
	if code := s.awaitExit(t); code != program.ExitFailed {
		t.Errorf("exit code %d", code)
	}
}

// Two signals within a second, like those of timeout to a process and then to its
// group, do not end the drain.
func TestSignalsWithinASecondAreOne(t *testing.T) {
	s := start(t, "--drain", "1h")
	s.signals <- syscall.SIGTERM
	s.await(t, "draining")
	s.elapsed.Add(int64(time.Second) - 1)
	s.signals <- syscall.SIGTERM
	s.want(t, "http", "/readyz", 503, `{"error":"draining"}`)
	s.elapsed.Add(1)
	s.signals <- syscall.SIGTERM
	if code := s.awaitExit(t); code != program.ExitFailed {
		t.Errorf("exit code %d", code)
	}
}
