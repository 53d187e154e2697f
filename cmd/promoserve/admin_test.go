package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/apitest"
)

// Profiles are on the admin address, and not on the public port.
func TestAdminServesProfilesOnItsAddressOnly(t *testing.T) {
	s := start(t, "--admin-listen", "127.0.0.1:0", "--drain", "0s")
	address := s.await(t, "admin")["address"].(string)
	for path, want := range map[string]string{
		"/debug/pprof/":                  "goroutine",
		"/debug/pprof/goroutine?debug=1": "goroutine profile",
		"/debug/pprof/heap?debug=1":      "heap profile",
		"/debug/pprof/cmdline":           "promoserve",
		"/debug/pprof/symbol":            "num_symbols",
		"/debug/pprof/profile?seconds=1": "",
		"/debug/pprof/trace?seconds=0.1": "go 1.",
		"/version":                       `"version":`,
	} {
		if code, body := getFrom(t, address, path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.100q, want %q", path, code, body, want)
		}
		s.want(t, "http", path, 404, `{"error":"not found"}`)
	}
	if code, _ := getFrom(t, address, "/promotions/"+exampleID); code != 404 {
		t.Errorf("a promotion: %d", code)
	}

	var got struct {
		Version, Go string
		Format      int
		Settings    map[string]string
	}
	_, body := getFrom(t, address, "/version")
	must(t, json.Unmarshal([]byte(body), &got))
	if got.Version == "" || got.Go != runtime.Version() || got.Format != format.Version || got.Settings["GOARCH"] != runtime.GOARCH {
		t.Errorf("%s", body)
	}

	// A page of another site whose name points at the loopback interface.
	req, err := http.NewRequest(http.MethodGet, "http://"+address+"/debug/pprof/cmdline", nil)
	must(t, err)
	req.Host = "evil.example:6060"
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	must(t, err)
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("host %s: %d", req.Host, res.StatusCode)
	}

	// A profile takes time of the server, so no page of another site may begin one.
	for site, want := range map[string]int{"cross-site": 403, "same-site": 403, "same-origin": 200, "none": 200} {
		req.Host = ""
		req.Header.Set("Sec-Fetch-Site", site)
		res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		must(t, err)
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("Sec-Fetch-Site %s: %d, want %d", site, res.StatusCode, want)
		}
	}

	s.signals <- syscall.SIGTERM
	if code := s.awaitExit(t); code != program.ExitDone {
		t.Errorf("exit code %d", code)
	}
	if c, err := net.Dial("tcp", address); err == nil {
		c.Close()
		t.Error("the admin address is open after the exit")
	}
}

// The public port counts refused files. Only the admin address names files and
// persons, and tells the errors.
func TestAdminServesFullStatus(t *testing.T) {
	s := start(t, "--admin-listen", "127.0.0.1:0", "--drain", "0s")
	address := s.await(t, "admin")["address"].(string)
	s.build(t, "9.68")
	live, err := generation.ParseID(s.await(t, "generation live")["generation"].(string))
	must(t, err)
	bad := generation.Name{ID: generation.IDOf(time.Now().Add(time.Minute)), Shards: 1}
	path := filepath.Join(s.dir, bad.String())
	// A file that is written under its name may be refused while it is empty.
	must(t, os.WriteFile(path+".part", []byte("nothing"), 0o644))
	must(t, os.Rename(path+".part", path))
	s.await(t, "generation refused")
	must(t, generation.SetPin(s.dir, generation.Pin{Active: true, ID: live, By: "ops@node", Reason: "wrong prices\u202e"}))
	s.await(t, "generation pinned")

	for address, full := range map[string]bool{s.address: false, address: true} {
		code, body := getFrom(t, address, "/status")
		st := map[string]any{}
		must(t, json.Unmarshal([]byte(body), &st))
		if code != 200 || st["live"] != live.String() || st["pinned"] != live.String() || st["newest"] != bad.ID.String() || st["refused"] != 1.0 {
			t.Errorf("%d %s", code, body)
		}
		for _, part := range []string{`"by":"ops@node"`, `"reason":"wrong prices\u202e"`, `{"file":"` + filepath.Base(path) + `","error":"` + path + ": "} {
			if strings.Contains(body, part) != full {
				t.Errorf("%s contains %s: %t, want %t", body, part, !full, full)
			}
		}
	}
}

func getFrom(t *testing.T, address, path string) (int, string) {
	t.Helper()
	api, err := apitest.New(apitest.Admin)
	must(t, err)
	client := &http.Client{Transport: api.Transport(t, &http.Transport{DisableKeepAlives: true})}
	res, err := client.Get("http://" + address + path)
	must(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, string(body)
}

func TestAdminAddressMustBeLoopback(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:6060": true,
		"127.1.2.3:0":    true,
		"[::1]:6060":     true,
		"localhost:6060": true,
		":6060":          false,
		"0.0.0.0:6060":   false,
		"[::]:6060":      false,
		"10.0.0.7:6060":  false,
		"127.0.0.1":      false,
		"6060":           false,
	} {
		if _, err := adminAddress(address); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// The admin listener switches the log of slow requests without a restart.
func TestAdminSwitchesLogOfSlowRequests(t *testing.T) {
	s := start(t, "--admin-listen", "127.0.0.1:0", "--drain", "0s", "--log-slow", "1h")
	address := s.await(t, "admin")["address"].(string)
	put := func(setting string) (int, string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodPut, "http://"+address+"/log-slow", strings.NewReader(setting))
		must(t, err)
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		must(t, err)
		return res.StatusCode, strings.TrimSpace(string(body))
	}
	if _, body := getFrom(t, address, "/log-slow"); strings.TrimSpace(body) != `{"log_slow":"1h0m0s"}` {
		t.Errorf("at first: %s", body)
	}
	if code, body := put("0s\n"); code != 200 || body != `{"log_slow":"0s"}` {
		t.Errorf("%d %s", code, body)
	}
	logged := func(setting string) {
		t.Helper()
		if line := s.await(t, "log of slow requests changed"); line["log_slow"] != setting || line["client"] == nil {
			t.Errorf("%v, want %s", line, setting)
		}
	}
	logged("0s")
	s.want(t, "http", "/x", 404, `{"error":"not found"}`)
	if line := s.await(t, "slow request"); line["uri"] != "/x" || line["code"] != 404.0 {
		t.Errorf("%v", line)
	}
	if code, body := put("off"); code != 200 || body != `{"log_slow":"off"}` {
		t.Errorf("%d %s", code, body)
	}
	logged("off")
	for _, setting := range []string{"", "50", "-1s", "on", strings.Repeat("1", 101)} {
		if code, _ := put(setting); code != 400 {
			t.Errorf("%q: %d, want 400", setting, code)
		}
	}
	if _, body := getFrom(t, address, "/log-slow"); strings.TrimSpace(body) != `{"log_slow":"off"}` {
		t.Errorf("at last: %s", body)
	}
}

// The admin listener names the inputs of builds; the public port does not, and neither
// answers with --page off.
func TestAdminTellsDetailsOfGenerations(t *testing.T) {
	s := start(t, "--admin-listen", "127.0.0.1:0", "--drain", "0s")
	address := s.await(t, "admin")["address"].(string)
	s.build(t, "1")
	s.await(t, "generation live")
	list, err := generation.List(s.dir)
	must(t, err)
	id := list[0].ID
	must(t, generation.WriteSummary(s.dir, id, generation.Summary{Source: generation.SourceCommand, Inputs: []generation.SummaryInput{{Name: "secret.csv"}}}))
	for _, path := range []string{"/generations", "/promotions/" + exampleID + "/history", "/generations/" + id.String() + "/diff/" + id.String()} {
		code, private := getFrom(t, address, path)
		publicCode, public := s.get(t, "http", path)
		if code != 200 || publicCode != 200 || !strings.Contains(public, id.String()) {
			t.Errorf("%s: %d %s, public %d %s", path, code, private, publicCode, public)
		}
		if path == "/generations" {
			if !strings.Contains(private, "secret.csv") || strings.Contains(public, "secret.csv") {
				t.Errorf("%s: %s, public %s", path, private, public)
			}
		} else if private != public+"\n" {
			t.Errorf("%s: %s, public %s", path, private, public)
		}
	}

	s = start(t, "--admin-listen", "127.0.0.1:0", "--drain", "0s", "--page", "off")
	address = s.await(t, "admin")["address"].(string)
	for _, path := range []string{"/generations", "/", "/activity", "/assets/x"} {
		if code, _ := getFrom(t, address, path); code != 404 {
			t.Errorf("%s with --page off: %d", path, code)
		}
		s.want(t, "http", path, 404, `{"error":"not found"}`)
	}
}

// All errors of the admin listener are JSON.
func TestAdminAnswersErrorsAsJSON(t *testing.T) {
	s := start(t, "--admin-listen", "127.0.0.1:0", "--drain", "0s")
	address := s.await(t, "admin")["address"].(string)
	for request, want := range map[string]string{
		"GET /x":                      `404 {"error":"not found"}`,
		"GET //status":                `404 {"error":"not found"}`,
		"GET /x/../status":            `404 {"error":"not found"}`,
		"GET /assets/x":               `404 {"error":"not found"}`,
		"GET /generations/A%2fdiff/B": `404 {"error":"not found"}`,
		"POST /status":                `405 GET, HEAD {"error":"method not allowed"}`,
		"DELETE /log-slow":            `405 GET, HEAD, PUT {"error":"method not allowed"}`,
		"PUT /log-slow":               `400 {"error":"\"\" is neither a duration such as 50ms nor off"}`,
		"GET /status evil":            `403 {"error":"the host is not a loopback name or address"}`,
	} {
		method, path, _ := strings.Cut(request, " ")
		path, host, _ := strings.Cut(path, " ")
		c, err := net.Dial("tcp", address)
		must(t, err)
		defer c.Close()
		_, err = fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n", method, path, cmp.Or(host, "localhost"))
		must(t, err)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		must(t, err)
		body, err := io.ReadAll(res.Body)
		must(t, err)
		got := fmt.Sprint(res.StatusCode, " ")
		if allow := res.Header.Get("Allow"); allow != "" {
			got += allow + " "
		}
		if got += strings.TrimSuffix(string(body), "\n"); got != want || res.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s %v, want %s", request, got, res.Header, want)
		}
	}
}

// Requests beyond the limit wait until others have ended, or their clients have gone.
func TestBoundedRequestsWait(t *testing.T) {
	entered, leave := make(chan bool), make(chan bool)
	h := bounded(2, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { entered <- true; <-leave }))
	var ended sync.WaitGroup
	serve := func(ctx context.Context) {
		h.ServeHTTP(nil, httptest.NewRequestWithContext(ctx, http.MethodGet, "/status", nil))
	}
	for range 3 {
		ended.Go(func() { serve(t.Context()) })
	}
	<-entered
	<-entered
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	serve(gone) // returns
	select {
	case <-entered:
		t.Error("a third request runs")
	default:
	}
	ended.Go(func() { h.ServeHTTP(nil, httptest.NewRequest(http.MethodGet, "/debug/pprof/heap", nil)) })
	<-entered // a profile runs nevertheless
	leave <- true
	leave <- true
	leave <- true
	<-entered
	leave <- true
	ended.Wait()
}

// The page of the admin listener names persons and inputs, and shows bad rows.
func TestAdminServesPageWithDetails(t *testing.T) {
	s := start(t, "--admin-listen", "127.0.0.1:0", "--drain", "0s")
	address := s.await(t, "admin")["address"].(string)
	s.build(t, "1")
	s.await(t, "generation live")
	list, err := generation.List(s.dir)
	must(t, err)
	id := list[0].ID
	must(t, generation.SetPin(s.dir, generation.Pin{Active: true, ID: id, By: "ana", Reason: "<script>secret"}))
	s.await(t, "generation pinned")
	must(t, generation.WriteSummary(s.dir, id, generation.Summary{Source: generation.SourceCommand, Inputs: []generation.SummaryInput{{Name: "secret.csv"}}, NumInputs: 2, Rows: 1, BadRows: 1,
		Bad: []generation.SummaryBadRow{{File: "secret.csv", Line: 1, Column: 2, Reason: "price", Row: "<script>secret"}}}))
	for _, query := range []string{"", "?id=" + exampleID, "?from=" + id.String() + "&to=" + id.String()} {
		code, private := getFrom(t, address, "/"+query)
		publicCode, public := s.get(t, "http", "/"+query)
		if code != 200 || publicCode != 200 {
			t.Errorf("%q: %d, public %d", query, code, publicCode)
		}
		for _, part := range []string{"By ana", "Reason: &lt;script&gt;secret", "command secret.csv and 1 more, 1 row, 1 bad", "<code>&lt;script&gt;secret</code>", "1 bad row<"} {
			if !strings.Contains(private, part) || strings.Contains(public, part) {
				t.Errorf("%q: %q: %t, public %t", query, part, strings.Contains(private, part), strings.Contains(public, part))
			}
		}
		if strings.Contains(public, "secret") || strings.Contains(private, "<script>") || !strings.Contains(public, "command, 1 row, 1 bad") {
			t.Errorf("%q: public %s", query, public)
		}
		asset := regexp.MustCompile(`assets/[^"]*js`).FindString(private)
		if code, body := getFrom(t, address, "/"+asset); code != 200 || body == "" {
			t.Errorf("%s: %d", asset, code)
		}
	}
	if code, body := getFrom(t, address, "/activity"); code != 200 || !strings.HasPrefix(body, `{"until":null,"minutes":[{"requests":0,`) {
		t.Errorf("/activity: %d %s", code, body)
	}
	req, err := http.NewRequest(http.MethodGet, "http://"+address+"/", nil)
	must(t, err)
	req.Host = "evil.example"
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("host %s: %d", req.Host, res.StatusCode)
	}
}
