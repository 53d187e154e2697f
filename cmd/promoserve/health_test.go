package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"promostore/cmd/internal/program"
)

// runHealth runs "promoserve health" and returns its exit code and its output.
func runHealth(args ...string) (int, string) {
	var out bytes.Buffer
	// The machine may be busy. A later --timeout overrides this one.
	code := run(append([]string{"promoserve", "health", "--timeout", "20s"}, args...), environment{&out, &out, noSignals})
	return code, out.String()
}

// noSignals delivers no signal.
var noSignals = program.NewSignals(make(chan os.Signal), time.Now)

func wantHealth(t *testing.T, code int, output string, args ...string) {
	t.Helper()
	if got, out := runHealth(args...); got != code || !strings.Contains(out, output) || output == "" && out != "" {
		t.Errorf("health %q: exit code %d, %q, want %d, %q", args, got, out, code, output)
	}
}

func TestHealthOfServer(t *testing.T) {
	t.Setenv("PROMO_TLS_SELF_SIGNED", "true")
	s := start(t)
	s.await(t, "no generation is live")
	wantHealth(t, program.ExitFailed, `503 {"error":"no generation yet: the directory does not exist"}`, "--listen", s.address)
	wantHealth(t, program.ExitDone, "", "--listen", s.address, "--live")
	s.build(t, "9.68")
	s.await(t, "generation live")
	wantHealth(t, program.ExitDone, "", "--listen", s.address)
	wantHealth(t, program.ExitDone, "", "--listen", s.address, "--tls-only") // with a self-signed certificate
	wantHealth(t, program.ExitDone, "", "--url", "http://"+s.address)
	wantHealth(t, program.ExitDone, "", "--url", "https://"+s.address+"/")
	wantHealth(t, program.ExitDone, "", "--url", "https://"+s.address+"/healthz")
	wantHealth(t, program.ExitFailed, "404", "--url", "https://"+s.address+"/none")

	// The environment and the flags of the server apply. An address without a
	// host means this host.
	_, port, err := net.SplitHostPort(s.address)
	must(t, err)
	t.Setenv("PROMO_LISTEN", ":"+port)
	wantHealth(t, program.ExitDone, "")
	wantHealth(t, program.ExitDone, "", "--listen", "0.0.0.0:"+port)
	t.Setenv("PROMO_TLS_ONLY", "true")
	wantHealth(t, program.ExitDone, "")
	var stderr bytes.Buffer
	if code := run([]string{"promoserve", "--listen", ":0", "health"}, environment{&stderr, &stderr, noSignals}); code != program.ExitFailed {
		t.Errorf("health of another server: exit code %d, %s", code, &stderr)
	}
}

func TestHealthOfOtherServers(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts no connection
	must(t, err)
	defer mute.Close()
	wantHealth(t, program.ExitFailed, "no answer in time", "--listen", mute.Addr().String(), "--timeout", "20ms")

	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/readyz", http.StatusFound)
		case "/stalled":
			w.Header().Set("Content-Length", "10")
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	}))
	defer other.Close()
	wantHealth(t, program.ExitDone, "", "--url", other.URL)
	wantHealth(t, program.ExitFailed, "302", "--url", other.URL+"/moved")
	wantHealth(t, program.ExitFailed, "no answer in time", "--url", other.URL+"/stalled", "--timeout", "200ms")
	wantHealth(t, program.ExitFailed, "HTTP response to an HTTPS request", "--url", strings.Replace(other.URL, "http:", "https:", 1)+"/", "--timeout", "10s")
	gone := other.URL
	other.Close()
	wantHealth(t, program.ExitFailed, "refused", "--url", gone)
}

// The certificate of another host is checked, that of this host is not.
func TestHealthChecksCertificates(t *testing.T) {
	for url, insecure := range map[string]bool{
		"https://127.0.0.1:1321":         true,
		"https://127.1.2.3/readyz":       true,
		"https://[::1]:1321":             true,
		"https://localhost":              true,
		"https://10.0.0.7":               false,
		"https://localhost.example.org":  false,
		"https://127.0.0.1.example.org/": false,
		"https://127.0.0.1@example.org/": false,
	} {
		if p, err := remoteProbe(url, "/readyz"); err != nil || p.insecure != insecure {
			t.Errorf("%s: insecure is %v, want %v: %v", url, p.insecure, insecure, err)
		}
	}
}
