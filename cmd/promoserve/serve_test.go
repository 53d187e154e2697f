package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"promostore/builder"
	"promostore/format/generation"
)

const (
	exampleID   = "172FFC14-D229-4C93-B06B-F48B8C095512"
	exampleJSON = `{"id":"172FFC14-D229-4C93-B06B-F48B8C095512","price":%s,"expiration_date":"2022-06-04 06:01:20"}`
)

// A server is a promoserve that runs in a goroutine of the test, or is a
// process of its own.
type server struct {
	dir     string
	address string
	logged  chan map[string]any // every line of the log
	signals chan os.Signal
	exited  chan struct{} // closed when code is known
	code    int
	elapsed atomic.Int64 // nanoseconds that its clock has gone
}

func (s *server) now() time.Time { return time.Unix(0, s.elapsed.Load()) }

// later sends a signal a second later.
func (s *server) later(sig os.Signal) {
	s.elapsed.Add(int64(time.Second))
	s.signals <- sig
}

// start runs promoserve over an empty directory and waits until it listens.
func start(t *testing.T, flags ...string) *server {
	t.Helper()
	s := newServer(t)
	s.start(t, flags...)
	return s
}

func (s *server) start(t *testing.T, flags ...string) {
	t.Helper()
	log, stderr := io.Pipe()
	go s.read(log)
	args := append([]string{"promoserve", "--data", s.dir, "--listen", "127.0.0.1:0", "--log-format", "json", "--poll", "5ms"}, flags...)
	go func() {
		code := run(args, environment{io.Discard, stderr, s.signals, s.now})
		stderr.Close()
		s.code = code
		close(s.exited)
	}()
	t.Cleanup(func() {
		for {
			s.elapsed.Add(int64(time.Second)) // the second signal cuts the drain short
			select {
			case s.signals <- syscall.SIGTERM:
			case <-s.exited:
				return
			}
		}
	})
	s.address = s.await(t, "serving")["address"].(string)
}

func newServer(t *testing.T) *server {
	return &server{
		dir:     filepath.Join(t.TempDir(), "data"),
		logged:  make(chan map[string]any, 1000),
		signals: make(chan os.Signal),
		exited:  make(chan struct{}),
	}
}

func (s *server) read(log io.Reader) {
	for lines := bufio.NewScanner(log); lines.Scan(); {
		line := map[string]any{}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			line["msg"] = lines.Text()
		}
		s.logged <- line
	}
	close(s.logged)
}

// await returns the next line of the log with this message.
func (s *server) await(t *testing.T, message string) map[string]any {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case line, ok := <-s.logged:
			if !ok {
				t.Fatalf("the log ends without %q", message)
			}
			if line["msg"] == message {
				return line
			}
		case <-timeout:
			t.Fatalf("nothing logged %q", message)
		}
	}
}

func (s *server) awaitExit(t *testing.T) int {
	t.Helper()
	select {
	case <-s.exited:
		return s.code
	case <-time.After(20 * time.Second):
		t.Fatal("it does not exit")
		return 0
	}
}

// build publishes a generation of one row with this price.
func (s *server) build(t *testing.T, price string) {
	t.Helper()
	csv := exampleID + "," + price + ",2022-06-04 06:01:20\n"
	_, err := builder.Build(context.Background(), builder.Options{
		Inputs: []builder.Input{builder.StreamInput("test", strings.NewReader(csv))},
		Dir:    s.dir,
		Memory: builder.MinMemory,
	})
	must(t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// get is the code and the body of an answer, on a connection of its own.
func (s *server) get(t *testing.T, scheme, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	}}
	res, err := client.Get(scheme + "://" + s.address + path)
	must(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, string(body)
}

func (s *server) want(t *testing.T, scheme, path string, code int, body string) {
	t.Helper()
	if gotCode, gotBody := s.get(t, scheme, path); gotCode != code || gotBody != body {
		t.Errorf("%s %s: %d %s, want %d %s", scheme, path, gotCode, gotBody, code, body)
	}
}

// TestFromEmpty goes through the life of a server.
func TestFromEmpty(t *testing.T) {
	s := start(t, "--tls-self-signed", "--drain", "0s")
	s.want(t, "http", "/healthz", 200, `{"status":"ok"}`)
	s.want(t, "http", "/readyz", 503, `{"error":"no generation yet"}`)
	s.want(t, "https", "/promotions/"+exampleID, 503, `{"error":"no generation yet"}`)
	for _, price := range []string{"9.68", "9.680"} {
		s.build(t, price)
		s.await(t, "generation live")
		for _, scheme := range []string{"http", "https"} {
			s.want(t, scheme, "/promotions/"+exampleID, 200, fmt.Sprintf(exampleJSON, price))
		}
	}
	s.await(t, "generation closed")

	// A bad one is refused and the current one stays.
	name := generation.Name{ID: generation.IDOf(time.Now().Add(time.Hour)), Shards: 1}
	must(t, os.WriteFile(filepath.Join(s.dir, name.String()), []byte("PROMOGEN"), 0o644))
	if line := s.await(t, "generation refused"); line["error"] == nil || line["generation"] != name.ID.String() {
		t.Errorf("log: %v", line)
	}
	s.want(t, "http", "/promotions/"+exampleID, 200, fmt.Sprintf(exampleJSON, "9.680"))

	s.signals <- syscall.SIGTERM
	s.await(t, "stopped")
	if code := s.awaitExit(t); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

func TestFlagsAndEnvironment(t *testing.T) {
	t.Setenv("PROMO_PRICE_DECIMALS", "1")
	t.Setenv("PROMO_DATE_FORMAT", "utc")
	t.Setenv("PROMO_TLS_SELF_SIGNED", "true")
	t.Setenv("PROMO_TLS_ONLY", "true")
	t.Setenv("PROMO_ACCESS", "pread")
	s := start(t, "--date-format", "rfc3339", "--verify", "index") // a flag goes before the environment
	s.build(t, "9.680")
	s.await(t, "generation live")
	s.want(t, "https", "/promotions/"+exampleID, 200, `{"id":"`+exampleID+`","price":9.6,"expiration_date":"2022-06-04T06:01:20Z"}`)
	s.want(t, "http", "/promotions/"+exampleID, 400, `{"error":"this port accepts https only"}`)
}

// TestDraining wants a server that drains to go on serving.
func TestDraining(t *testing.T) {
	s := start(t, "--drain", "1h")
	s.build(t, "9.68")
	s.await(t, "generation live")
	s.signals <- syscall.SIGTERM
	s.await(t, "draining")
	s.want(t, "http", "/readyz", 503, `{"error":"draining"}`)
	s.want(t, "http", "/promotions/"+exampleID, 200, fmt.Sprintf(exampleJSON, "9.68"))
}

// TestDrain wants a server to listen for as long as --drain, and a request in
// flight to be answered after that.
func TestDrain(t *testing.T) {
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
	// Until it listens no more. Probes without a pause between them would fill
	// the queue of the listener, and then wait for long to be answered.
	for probes := time.NewTicker(10 * time.Millisecond); ; <-probes.C {
		probe, err := net.Dial("tcp", s.address)
		if err != nil {
			break
		}
		probe.Close()
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("it listened for %v only", took)
	}
	fmt.Fprint(c, "\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	must(t, err)
	body, err := io.ReadAll(res.Body)
	must(t, err)
	if res.StatusCode != 200 || string(body) != fmt.Sprintf(exampleJSON, "9.68") {
		t.Errorf("the request in flight: %d %s", res.StatusCode, body)
	}
	if code := s.awaitExit(t); code != exitDone {
		t.Errorf("exit code %d", code)
	}
}

func TestSecondSignal(t *testing.T) {
	s := start(t, "--drain", "1h")
	s.signals <- syscall.SIGINT
	s.await(t, "draining")
	s.later(syscall.SIGHUP) // means nothing any more
	s.later(syscall.SIGINT)
	if code := s.awaitExit(t); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
}

// TestSignalTwiceAtOnce sends the first signal twice, as timeout does to a
// process and then to its group. That must not cut the drain short.
func TestSignalTwiceAtOnce(t *testing.T) {
	s := start(t, "--drain", "1h")
	s.signals <- syscall.SIGTERM
	s.await(t, "draining")
	s.elapsed.Add(int64(time.Second) - 1)
	s.signals <- syscall.SIGTERM
	s.want(t, "http", "/readyz", 503, `{"error":"draining"}`)
	s.elapsed.Add(1)
	s.signals <- syscall.SIGTERM
	if code := s.awaitExit(t); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
}

// TestSignalWhileClosing waits for something that never ends, which a second
// signal must.
func TestSignalWhileClosing(t *testing.T) {
	signals := make(chan os.Signal)
	var elapsed atomic.Int64
	s := &stopSignals{signals: signals, now: func() time.Time { return time.Unix(0, elapsed.Load()) }, first: time.Unix(0, 0)}
	waited := make(chan error)
	go func() { waited <- s.wait(nil) }()
	signals <- syscall.SIGTERM
	signals <- syscall.SIGHUP // when it is taken, the first has been seen at its time
	elapsed.Store(int64(time.Second))
	signals <- syscall.SIGTERM
	if err := <-waited; !errors.Is(err, errSecondSignal) {
		t.Errorf("%v, want %v", err, errSecondSignal)
	}
}

// TestSIGHUP looks for a generation and reads the certificate again.
func TestSIGHUP(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, certFile, keyFile, 1)
	s := newServer(t)
	s.build(t, "1.00")
	s.start(t, "--tls-cert", certFile, "--tls-key", keyFile, "--poll", "1h")
	s.await(t, "generation live") // the first look is over, and there is none for an hour
	s.build(t, "9.68")
	writeCertificate(t, certFile, keyFile, 2)
	if n := s.serial(t); n != 1 {
		t.Errorf("certificate %d before the signal", n)
	}
	s.signals <- syscall.SIGHUP
	s.await(t, "certificate loaded")
	if n := s.serial(t); n != 2 {
		t.Errorf("certificate %d after the signal", n)
	}
	s.await(t, "generation live")
	s.want(t, "https", "/promotions/"+exampleID, 200, fmt.Sprintf(exampleJSON, "9.68"))

	must(t, os.WriteFile(certFile, []byte("no certificate"), 0o600))
	s.signals <- syscall.SIGHUP
	s.await(t, "certificate refused, the old one remains")
	if n := s.serial(t); n != 2 {
		t.Errorf("certificate %d after a broken one", n)
	}
}

func (s *server) serial(t *testing.T) int64 {
	t.Helper()
	c, err := tls.Dial("tcp", s.address, &tls.Config{InsecureSkipVerify: true})
	must(t, err)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func writeCertificate(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}

// TestProcess sends real signals to a real process, whose served file is cut
// in place on the way.
func TestProcess(t *testing.T) {
	if os.Getenv("PROMOSERVE_TEST_PROCESS") != "" {
		os.Args = []string{"promoserve", "--data", os.Getenv("PROMOSERVE_TEST_PROCESS"), "--listen", "127.0.0.1:0", "--log-format", "json",
			"--poll", "1h", "--access", "mmap", "--drain", "0s"}
		main()
	}
	s := newServer(t)
	s.build(t, "9.68")
	process := exec.Command(os.Args[0], "-test.run=^TestProcess$")
	process.Env = append(os.Environ(), "PROMOSERVE_TEST_PROCESS="+s.dir)
	log, err := process.StderrPipe()
	must(t, err)
	must(t, process.Start())
	t.Cleanup(func() { _ = process.Process.Kill() })
	go s.read(log)
	s.address = s.await(t, "serving")["address"].(string)
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
