package updater_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/updater"
	"promostore/web"
)

// request sends a request with a body, as JSON unless headers have another
// Content-Type. headers alternates between names and values; an empty value
// removes the header, and Host sets the host.
func (f *fixture) request(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+f.address+path, strings.NewReader(body))
	must(t, err)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		switch name, value := headers[i], headers[i+1]; {
		case name == "Host":
			req.Host = value
		case value == "":
			req.Header.Del(name)
		default:
			req.Header.Set(name, value)
		}
	}
	res, err := f.client.Do(req)
	must(t, err)
	return read(t, res)
}

func (f *fixture) pin(t *testing.T) generation.Pin {
	t.Helper()
	p, err := generation.ReadPin(f.data)
	must(t, err)
	return p
}

// publish writes generations of that many hours ago, and returns their IDs.
func (f *fixture) publish(t *testing.T, hours ...int) (ids []generation.ID) {
	t.Helper()
	for _, h := range hours {
		id := generation.IDOf(time.Now().Add(-time.Duration(h) * time.Hour))
		gentest.Publish(t, f.data, id, gentest.Sequence(3))
		ids = append(ids, id)
	}
	return ids
}

func withToken(t *testing.T) func(*updater.Options) {
	file := filepath.Join(t.TempDir(), "tokens")
	must(t, os.WriteFile(file, []byte("secret\n"), 0o600))
	return func(o *updater.Options) { o.TokenFile = file }
}

// Requests that must not change the pin, with the token of the updater unless they
// have another Authorization.
func TestRefusedPinRequestsChangeNothing(t *testing.T) {
	closed, open := start(t, withToken(t)), start(t, nil)
	var good, incomplete, damaged string
	for _, f := range []*fixture{open, closed} {
		ids := f.publish(t, 3, 2)
		good, damaged = ids[0].String(), ids[1].String()
		gentest.Flip(t, gentest.Path(f.data, ids[1]), format.BlockLen+100)
		id := generation.IDOf(time.Now().Add(-time.Hour))
		must(t, os.Remove(gentest.PublishSharded(t, f.data, id, format.Sharding{Rule: format.ShardLast, Shards: 16}, gentest.Scattered(50))[1]))
		incomplete = id.String()
		must(t, generation.SetPin(f.data, generation.Pin{Active: true, ID: ids[0], By: "ana", Reason: "test"}))
	}
	body := func(id string) string { return `{"generation":"` + id + `","reason":"test"}` }
	ok := body(good)
	for _, c := range []struct {
		name     string
		f        *fixture
		body     string
		headers  []string
		code     int
		reason   string
		contains string
	}{
		{"no token", closed, ok, []string{"Authorization", ""}, 401, "unauthorized", "a token is needed"},
		{"wrong token", closed, ok, []string{"Authorization", "Bearer other"}, 401, "unauthorized", "wrong token"},
		{"page of another site", closed, ok, []string{"Origin", "https://evil.example"}, 403, "unauthorized", "of another site"},
		{"page of another port", closed, ok, []string{"Origin", "http://127.0.0.1:1"}, 403, "unauthorized", "of another site"},
		{"page without an origin", closed, ok, []string{"Origin", "null"}, 403, "unauthorized", "of another site"},
		{"Sec-Fetch-Site cross-site", closed, ok, []string{"Sec-Fetch-Site", "cross-site"}, 403, "unauthorized", "of another site"},
		{"Sec-Fetch-Site same-site", closed, ok, []string{"Sec-Fetch-Site", "same-site"}, 403, "unauthorized", "of another site"},
		{"DNS rebinding", open, ok, []string{"Host", "evil.example", "Origin", "http://evil.example", "Sec-Fetch-Site", "same-origin"}, 403, "unauthorized", `host \"evil.example\" is not allowed`},
		{"page of another site, no token needed", open, ok, []string{"Origin", "https://evil.example"}, 403, "unauthorized", "of another site"},
		{"form", closed, ok, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported", "not application/json"},
		{"text", closed, ok, []string{"Content-Type", "text/plain; charset=application/json"}, 415, "unsupported", "not application/json"},
		{"no content type", closed, ok, []string{"Content-Type", ""}, 415, "unsupported", "not application/json"},
		{"long body", closed, body(strings.Repeat("x", 16<<10)), nil, 413, "too_large", "longer than 16,384 bytes"},
		{"long reason", closed, `{"generation":"` + good + `","reason":"` + strings.Repeat("ü", 1001) + `"}`, nil, 400, "malformed", "reason is longer than 1,000 characters"},
		{"empty body", closed, "", nil, 400, "malformed", "not a JSON object"},
		{"null", closed, "null", nil, 400, "malformed", "not a JSON object"},
		{"array", closed, "[" + ok + "]", nil, 400, "malformed", "not a JSON object"},
		{"cut", closed, ok[:20], nil, 400, "malformed", "unexpected EOF"},
		{"text after the object", closed, ok + " }", nil, 400, "malformed", "text follows"},
		{"two objects", closed, ok + ok, nil, 400, "malformed", "text follows"},
		{"unknown field", closed, `{"generation":"` + good + `","reason":"x","until-newer":true}`, nil, 400, "malformed", `unknown field \"until-newer\"`},
		{"wrong type", closed, `{"generation":5,"reason":"x"}`, nil, 400, "malformed", "cannot unmarshal number"},
		{"no generation", closed, `{"reason":"x"}`, nil, 400, "malformed", "generation is missing"},
		{"no reason", closed, `{"generation":"` + good + `"}`, nil, 400, "malformed", "reason is missing"},
		{"empty reason", closed, `{"generation":"` + good + `","reason":""}`, nil, 400, "malformed", "reason is missing"},
		{"blank reason", closed, `{"generation":"` + good + `","reason":" \n\u00a0"}`, nil, 400, "malformed", "reason is missing"},
		{"not an ID", closed, body("../../etc/passwd"), nil, 400, "malformed", "not a generation ID"},
		{"unknown generation", closed, body("20200101T000000000Z"), nil, 404, "absent", "no such generation: 20200101T000000000Z"},
		{"incomplete generation", closed, body(incomplete), nil, 422, "unservable", "missing 1 of 16 shards: 1"},
		{"damaged generation", closed, body(damaged), nil, 422, "unservable", "wrong checksum"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, refused, counted := c.f.pin(t), c.f.metric(t, "promobuild_clients_refused_total"), c.f.metric(t, fmt.Sprintf(`promobuild_pin_requests_total{code="%d"}`, c.code))
			a := c.f.request(t, http.MethodPut, "/pin", c.body, append([]string{"Authorization", "Bearer secret"}, c.headers...)...)
			a.want(t, c.code, c.reason)
			if !strings.Contains(a.text, c.contains) {
				t.Errorf("answer %s does not contain %q", a, c.contains)
			}
			if got := c.f.pin(t); !got.Equal(before) {
				t.Errorf("the pin changed to %+v", got)
			}
			if isRefused := c.f.metric(t, "promobuild_clients_refused_total") != refused; isRefused != (c.code == 401 || c.code == 403) {
				t.Errorf("answer %s counts as a refused client: %t", a, isRefused)
			}
			if got := c.f.metric(t, fmt.Sprintf(`promobuild_pin_requests_total{code="%d"}`, c.code)); got == counted {
				t.Errorf("answer %s is not counted", a)
			}
		})
	}
	auth := []string{"Authorization", "Bearer secret"}
	for _, c := range []struct{ method, path, body, contains string }{
		{"POST", "/rollback", ok, "finds the generation itself"},
		{"POST", "/rollback", "{}", "reason is missing"},
		{"POST", "/rollback", "", "not a JSON object"},
		{"DELETE", "/pin", ok, "no field but reason"},
		{"DELETE", "/pin", `{"until_newer":true}`, "no field but reason"},
	} {
		a := closed.request(t, c.method, c.path, c.body, auth...)
		a.want(t, http.StatusBadRequest, "malformed")
		if !strings.Contains(a.text, c.contains) {
			t.Errorf("%s %s: answer %s does not contain %q", c.method, c.path, a, c.contains)
		}
	}
	for path, allow := range map[string]string{"/pin": "PUT, DELETE", "/rollback": "POST"} {
		for _, method := range []string{"GET", "PATCH", "OPTIONS"} {
			if a := closed.request(t, method, path, "", auth...); a.code != http.StatusMethodNotAllowed || a.header.Get("Allow") != allow {
				t.Errorf("%s %s: %s, Allow %q", method, path, a, a.header.Get("Allow"))
			}
		}
	}
	if p := closed.pin(t); p.Reason != "test" {
		t.Errorf("the pin changed to %+v", p)
	}
}

// All requests that change something refuse pages of other sites in the same way,
// and accept clients that are no browsers, and the page of the updater.
func TestCrossSiteRequestsAreRefused(t *testing.T) {
	f := start(t, nil)
	f.publish(t, 2, 1)
	own := "http://" + f.address
	for _, c := range []struct {
		headers []string
		ok      bool
	}{
		{nil, true},
		{[]string{"Origin", own}, true},
		{[]string{"Origin", own, "Sec-Fetch-Site", "same-origin"}, true},
		{[]string{"Sec-Fetch-Site", "none"}, true},
		{[]string{"Host", "localhost:8080", "Origin", "http://localhost:8080"}, true},
		{[]string{"X-Forwarded-Host", "proxy.example", "Origin", own}, true},
		{[]string{"Host", "localhost", "Origin", "https://proxy.example", "Sec-Fetch-Site", "same-origin"}, true}, // a proxy that replaces Host
		{[]string{"X-Forwarded-Host", "evil.example", "Origin", "http://evil.example"}, false},
		{[]string{"Host", "localhost", "Origin", "http://proxy.example"}, false},
		{[]string{"Origin", "http://evil.example"}, false},
		{[]string{"Origin", own + ".evil.example"}, false},
		{[]string{"Origin", own, "Sec-Fetch-Site", "cross-site"}, false},
		{[]string{"Origin", own, "Sec-Fetch-Site", "same-site"}, false},
	} {
		for _, r := range []struct {
			method, path, body string
			code               int
		}{
			{"DELETE", "/pin", `{"reason":"x"}`, 200},
			{"POST", "/rollback", `{"reason":"x"}`, 200},
			{"DELETE", "/pin", ``, 200},
			{"POST", "/upload", dataSet(t, 1), 201},
		} {
			headers := c.headers
			if r.body == "" || r.path == "/upload" {
				headers = append([]string{"Content-Type", ""}, headers...)
			}
			a := f.request(t, r.method, r.path, r.body, headers...)
			if c.ok {
				a.want(t, r.code, "")
			} else {
				a.want(t, http.StatusForbidden, "unauthorized")
			}
		}
	}
}

// A pin, a rollback and an unpin take effect, with the address of the client as
// their author, and leave a line in the log.
func TestPinRequestsChangePin(t *testing.T) {
	f := start(t, withToken(t))
	ids := f.publish(t, 4, 3, 2, 1, -48)
	auth := []string{"Authorization", "Bearer secret"}
	const author = "updater for 127.0.0.1"
	check := func(a answer, want generation.Pin) {
		t.Helper()
		a.want(t, http.StatusOK, "")
		got := f.pin(t)
		if age := time.Since(got.At); age < 0 || age > time.Minute {
			t.Errorf("the pin is from %s", got.At)
		}
		want.By, want.At = author, got.At
		if !got.Equal(want) {
			t.Errorf("pin %+v, want %+v", got, want)
		}
		id := ""
		if want.Active {
			id = want.ID.String()
		}
		if a.object["generation"] != id || a.object["message"] != want.Message() || len(a.object) != 2 {
			t.Errorf("answer %s, want %q and %q", a, id, want.Message())
		}
	}
	pin := func(id generation.ID, rest string) answer {
		return f.request(t, "PUT", "/pin", `{"generation":"`+id.String()+`","reason":"wrong <b>\u001b[2J\n\u202e"`+rest+`}`, auth...)
	}
	rollback := func(rest string) answer {
		return f.request(t, "POST", "/rollback", `{"reason":"wrong prices"`+rest+`}`, auth...)
	}
	reason := "wrong <b>\x1b[2J\n\u202e"
	check(pin(ids[2], ""), generation.Pin{Active: true, ID: ids[2], Reason: reason})
	check(rollback(""), generation.Pin{Active: true, ID: ids[1], Reason: "wrong prices"})
	check(rollback(`,"until_newer":true`), generation.Pin{Active: true, ID: ids[0], UntilNewer: true, Newest: ids[3], Reason: "wrong prices"})
	check(f.request(t, "DELETE", "/pin", `{"reason":"corrected"}`, auth...), generation.Pin{Reason: "corrected"})
	check(f.request(t, "DELETE", "/pin", "", append(auth, "Content-Type", "")...), generation.Pin{})
	check(pin(ids[4], ""), generation.Pin{Active: true, ID: ids[4], Reason: reason}) // from the future
	check(pin(ids[0], `,"until_newer":false`), generation.Pin{Active: true, ID: ids[0], Reason: reason})
	// A pin that cannot be read is replaced.
	must(t, os.WriteFile(filepath.Join(f.data, generation.PinName), []byte("damaged"), 0o644))
	check(rollback(""), generation.Pin{Active: true, ID: ids[2], Reason: "wrong prices"})
	f.stop(t)
	log := f.log.String()
	for _, part := range []string{
		`level=INFO msg="pin changed" client=127.0.0.1:`, ` by="updater for 127.0.0.1" generation=` + ids[2].String() + ` until_newer=false reason="wrong <b>\x1b[2J\n\u202e"` + "\n",
		` generation="" until_newer=false reason=corrected` + "\n",
		` generation=` + ids[0].String() + ` until_newer=true reason="wrong prices"` + "\n",
	} {
		if !strings.Contains(log, part) {
			t.Errorf("the log lacks %s:\n%s", part, log)
		}
	}
}

func TestRollbackWithoutEarlierGeneration(t *testing.T) {
	f := start(t, nil)
	rollback := func(contains string) {
		t.Helper()
		a := f.request(t, "POST", "/rollback", `{"reason":"x"}`)
		a.want(t, http.StatusUnprocessableEntity, "unservable")
		if !strings.Contains(a.text, contains) {
			t.Errorf("answer %s does not contain %q", a, contains)
		}
	}
	rollback("no servable generation")
	ids := f.publish(t, 1)
	rollback("no servable generation before " + ids[0].String() + ", which is served")
	future := f.publish(t, -48)
	rollback("no servable generation before " + ids[0].String() + ", which is served; " + future[0].String() + " is from the future, so give its ID")
	if p := f.pin(t); !p.Equal(generation.Pin{}) {
		t.Errorf("the pin changed to %+v", p)
	}
}

// Changes of the pin and builds do not wait for each other. Each answer is about
// the pin that its request wrote, and the last one remains.
func TestConcurrentPinsAndBuilds(t *testing.T) {
	f := start(t, func(o *updater.Options) { o.Keep = 1 })
	ids := f.publish(t, 9, 8, 7)
	must(t, generation.SetPin(f.data, generation.Pin{Active: true, ID: ids[0]}))
	body, feed := io.Pipe()
	built := f.postAsync(t, body)
	csv := dataSet(t, 100)
	_, err := io.WriteString(feed, csv[:200])
	must(t, err)
	f.awaitBuilding(t, true)
	var wait sync.WaitGroup
	for i := range 12 {
		wait.Go(func() {
			id := ids[i%3].String()
			a := f.request(t, "PUT", "/pin", fmt.Sprintf(`{"generation":%q,"reason":"pin %d"}`, id, i))
			if a.code != http.StatusOK || a.object["generation"] != id || !strings.HasSuffix(a.text, fmt.Sprintf(": pin %d\"}\n", i)) {
				t.Errorf("pin %d of %s: %s", i, id, a)
			}
		})
	}
	wait.Wait()
	last := f.pin(t)
	if !last.Active {
		t.Errorf("the pin is %+v", last)
	}
	_, err = io.WriteString(feed, csv[200:])
	must(t, err)
	must(t, feed.Close())
	a := <-built
	a.want(t, http.StatusCreated, "")
	if a.object["pinned"] != last.ID.String() {
		t.Errorf("answer %s, want that %s is pinned", a, last.ID)
	}
	if _, err := generation.Find(f.data, last.ID, generation.AllDigits); err != nil {
		t.Errorf("the pinned generation was removed: %v", err)
	}
}

// The author is the subject of the certificate of the client, which cannot forge
// a line of the log.
func TestPinNamesSubjectOfCertificate(t *testing.T) {
	certificates, err := web.SelfSigned()
	must(t, err)
	authority, key := certificate(t, nil, nil)
	cert, certKey := certificate(t, authority, key, "ana\nlevel=ERROR")
	f := newFixture(t, func(o *updater.Options) { o.ClientCert = true })
	config := certificates.Config()
	config.ClientAuth = tls.VerifyClientCertIfGiven
	config.ClientCAs = x509.NewCertPool()
	config.ClientCAs.AddCert(authority)
	f.serve(t, config)
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true,
		Certificates:       []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: certKey}},
	}}
	for _, client := range []*http.Client{f.client, {Transport: api.Transport(t, transport)}} {
		req, err := http.NewRequest("DELETE", "https://"+f.address+"/pin", nil)
		must(t, err)
		res, err := client.Do(req)
		must(t, err)
		if a := read(t, res); (a.code == http.StatusOK) != (client != f.client) {
			t.Errorf("answer %s", a)
		}
	}
	if p := f.pin(t); p.By != "CN=ana\nlevel=ERROR" {
		t.Errorf("the author is %q", p.By)
	}
	f.stop(t)
	if log := f.log.String(); !strings.Contains(log, `by="CN=ana\nlevel=ERROR"`) {
		t.Errorf("the log lacks the author:\n%s", log)
	}
}

func TestPinRequestsWhileStopping(t *testing.T) {
	f := start(t, nil)
	body, feed := io.Pipe()
	built := f.postAsync(t, body)
	f.awaitBuilding(t, true)
	stopped := make(chan error, 1)
	go func() { stopped <- f.Shutdown(context.Background()) }()
	await(t, "stopping", func() bool { return f.get(t, "/status").object["stopping"] == true })
	a := f.request(t, "DELETE", "/pin", "{}")
	a.want(t, http.StatusServiceUnavailable, "interrupted")
	if a.header.Get("Retry-After") == "" {
		t.Errorf("answer %s without Retry-After", a)
	}
	must(t, feed.Close())
	<-built
	must(t, <-stopped)
	f.awaitServed(t)
}

func TestPinRequestThatStallsIsAnswered(t *testing.T) {
	f := newFixture(t, nil)
	f.SetHeaderTimeout(time.Second)
	f.serve(t, nil)
	c := f.dial(t, "PUT /pin HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	readAnswer(t, c).want(t, http.StatusRequestTimeout, "stalled")
}
