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
)

// health runs "promoserve health" and returns its exit code and what it says.
func health(args ...string) (int, string) {
	var out bytes.Buffer
	// The machine may be busy; a later flag of that name goes before.
	code := run(append([]string{"promoserve", "health", "--timeout", "20s"}, args...), environment{&out, &out, make(chan os.Signal), time.Now})
	return code, out.String()
}

func wantHealth(t *testing.T, code int, says string, args ...string) {
	t.Helper()
	if got, out := health(args...); got != code || !strings.Contains(out, says) || says == "" && out != "" {
		t.Errorf("health %q: exit code %d, %q, want %d, %q", args, got, out, code, says)
	}
}

func TestHealth(t *testing.T) {
	t.Setenv("PROMO_TLS_SELF_SIGNED", "true")
	s := start(t)
	wantHealth(t, exitFailed, `503 {"error":"no generation yet"}`, "--listen", s.address)
	wantHealth(t, exitDone, "", "--listen", s.address, "--live")
	s.build(t, "9.68")
	s.await(t, "generation live")
	wantHealth(t, exitDone, "", "--listen", s.address)
	wantHealth(t, exitDone, "", "--listen", s.address, "--tls-only") // nobody vouches for the certificate
	wantHealth(t, exitDone, "", "--url", "http://"+s.address)
	wantHealth(t, exitDone, "", "--url", "https://"+s.address+"/")
	wantHealth(t, exitDone, "", "--url", "https://"+s.address+"/healthz")
	wantHealth(t, exitFailed, "404", "--url", "https://"+s.address+"/none")

	// The server's own environment and flags. Its port on any address stands
	// for this host.
	_, port, err := net.SplitHostPort(s.address)
	must(t, err)
	t.Setenv("PROMO_LISTEN", ":"+port)
	wantHealth(t, exitDone, "")
	wantHealth(t, exitDone, "", "--listen", "0.0.0.0:"+port)
	t.Setenv("PROMO_TLS_ONLY", "true")
	wantHealth(t, exitDone, "")
	var stderr bytes.Buffer
	if code := run([]string{"promoserve", "--listen", ":0", "health"}, environment{&stderr, &stderr, nil, time.Now}); code != exitFailed {
		t.Errorf("of another server: exit code %d, %s", code, &stderr)
	}
}

// TestHealthOfOthers asks what is no promoserve, or not one that works.
func TestHealthOfOthers(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	must(t, err)
	defer mute.Close()
	wantHealth(t, exitFailed, "no answer in time", "--listen", mute.Addr().String(), "--timeout", "20ms")

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
	wantHealth(t, exitDone, "", "--url", other.URL)
	wantHealth(t, exitFailed, "302", "--url", other.URL+"/moved")
	wantHealth(t, exitFailed, "no answer in time", "--url", other.URL+"/stalled", "--timeout", "200ms")
	wantHealth(t, exitFailed, "in plain http", "--url", strings.Replace(other.URL, "http:", "https:", 1)+"/", "--timeout", "10s")
	gone := other.URL
	other.Close()
	wantHealth(t, exitFailed, "refused", "--url", gone)
}

// TestHealthCertificates wants those of other hosts to be checked.
func TestHealthCertificates(t *testing.T) {
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
			t.Errorf("%s: any certificate is taken: %v, want %v: %v", url, p.insecure, insecure, err)
		}
	}
}
