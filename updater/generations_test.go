package updater_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/updater"
)

// withPage enables the answers about the generations.
func withPage(o *updater.Options) { o.Page = true }

// getText returns the code and the body of an answer, and its header.
func (f *fixture) getText(t *testing.T, path, token string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+f.address+path, nil)
	must(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := f.client.Do(req)
	must(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, string(body), res.Header
}

// An upload and an inbox file leave summaries, whose texts are for clients with the
// token.
func TestGenerationsTellOfBuilds(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	must(t, os.WriteFile(tokens, []byte("secret\n"), 0o600))
	f := start(t, func(o *updater.Options) {
		withPage(o)
		o.TokenFile, o.Version = tokens, "v1.2.3"
		o.Build.MaxBadRows = 1
	})
	rows := dataSet(t, 2) + "<script>bad\x1b row\n"
	f.post(t, strings.NewReader(rows), "Authorization", "Bearer secret").want(t, http.StatusCreated, "")
	for token, want := range map[string]bool{"": false, "secret": true} {
		code, text, header := f.getText(t, "/generations", token)
		if code != 200 || header.Get("Cache-Control") != "no-store" || header.Get("Content-Type") != "application/json" || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%d %v", code, header)
		}
		for _, part := range []string{`"summary":{`, `"source":"upload"`, `"bad_rows":1`, `"records":2`, `"state":"live"`} {
			if !strings.Contains(text, part) {
				t.Errorf("token %q: %s lacks %s", token, text, part)
			}
		}
		for _, part := range []string{`"program":"v1.2.3"`, `"inputs":[{"name":"upload","size":` + fmt.Sprint(len(rows)) + `}]`, `"row":"\u003cscript\u003ebad\u001b row"`} {
			if strings.Contains(text, part) != want {
				t.Errorf("token %q: %s has %s: %t", token, text, part, !want)
			}
		}
	}
	for _, path := range []string{"/generations", "/promotions/1/history", "/generations/1/diff/2"} {
		if code, text, _ := f.getText(t, path, "wrong"); code != 401 {
			t.Errorf("%s with a wrong token: %d %s", path, code, text)
		}
	}
}

func TestHistoryAndDiffOfUpdater(t *testing.T) {
	f := start(t, withPage)
	const id = "172FFC14-D229-4C93-B06B-F48B8C095512"
	var ids []string
	for _, price := range []string{"1.50", "2"} {
		a := f.post(t, strings.NewReader(id+","+price+",2018-08-04 05:32:31 +0200 CEST\n"))
		a.want(t, http.StatusCreated, "")
		ids = append(ids, a.object["generation"].(string))
	}
	for path, want := range map[string]string{
		"/promotions/" + id + "/history": fmt.Sprintf(`200 {"id":%q,"history":[{"generation":%q,"live":true,"pinned":false,"found":true,"price":2,"expiration_date":"2018-08-04 05:32:31","expired":true},`+
			`{"generation":%q,"live":false,"pinned":false,"found":true,"price":1.50,"expiration_date":"2018-08-04 05:32:31","expired":true}]}`, id, ids[1], ids[0]),
		"/promotions/1/history": `400 {"error":"not a promotion ID such as 172FFC14-D229-4C93-B06B-F48B8C095512"}`,
		"/generations/" + ids[0] + "/diff/" + ids[1]: fmt.Sprintf(`200 {"from":%q,"to":%q,"changes":[{"kind":"changed","id":%q,"from":{"price":1.50,"expiration_date":"2018-08-04 05:32:31"},"to":{"price":2,"expiration_date":"2018-08-04 05:32:31"}}],`+
			`"counts":{"added":0,"removed":0,"changed":1,"unchanged":0}}`, ids[0], ids[1], id),
		"/generations/" + ids[0] + "/diff/x":                          `400 {"error":"\"x\" is not a generation, such as 20261122T103000123Z"}`,
		"/generations/" + ids[0] + "/diff/20200101T000000000Z":        fmt.Sprintf(`404 {"error":"%s: no such generation: 20200101T000000000Z"}`, f.data),
		"/generations/" + ids[0] + "/diff/" + ids[1] + "?limit=10001": `400 {"error":"limit is not a number from 0 to 10000"}`,
		"/generations/" + ids[0]:                                      `404 {"error":"not found"}`,
	} {
		code, text, _ := f.getText(t, path, "")
		if got := fmt.Sprintf("%d %s", code, strings.TrimSuffix(text, "\n")); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	req, err := http.NewRequest(http.MethodHead, "http://"+f.address+"/generations/"+ids[0]+"/diff/"+ids[1], nil)
	must(t, err)
	for range 2 { // it does not keep the only comparison
		res, err := f.client.Do(req)
		must(t, err)
		res.Body.Close()
		if res.StatusCode != 200 {
			t.Errorf("HEAD: %s", res.Status)
		}
	}
	if _, text, _ := f.getText(t, "/metrics", ""); !strings.Contains(text, `promobuild_history_requests_total{request="diff",result="answered"} 6`+"\n") {
		t.Errorf("metrics: %s", text)
	}
}

// A page of another site cannot read the generations by DNS rebinding.
func TestGenerationsRefuseForeignHosts(t *testing.T) {
	f := start(t, withPage)
	for _, path := range []string{"/generations", "/promotions/1/history", "/generations/1/diff/2"} {
		req, err := http.NewRequest(http.MethodGet, "http://"+f.address+path, nil)
		must(t, err)
		req.Host = "evil.example"
		res, err := f.client.Do(req)
		must(t, err)
		read(t, res).want(t, http.StatusForbidden, "unauthorized")
	}
}

// While the directory cannot be read, requests about it are answered 503. Only clients
// with the token learn its path.
func TestUnreadableDirectoryIsAnsweredWithReason(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	must(t, os.WriteFile(tokens, []byte("secret\n"), 0o600))
	f := start(t, func(o *updater.Options) {
		withPage(o)
		o.TokenFile = tokens
	})
	must(t, os.Rename(f.data, f.data+".away"))
	must(t, os.WriteFile(f.data, nil, 0o644))
	for token, reason := range map[string]string{"": "the directory cannot be read: not a directory", "secret": "getdents " + f.data + ": not a directory"} {
		for _, path := range []string{"/generations", "/promotions/172FFC14-D229-4C93-B06B-F48B8C095512/history", fmt.Sprintf("/generations/%s/diff/%s", generation.ID(1), generation.ID(2))} {
			code, text, header := f.getText(t, path, token)
			if want := `{"error":"` + reason + "\"}\n"; code != 503 || text != want || header.Get("Retry-After") == "" {
				t.Errorf("%s, token %q: %d %s, want %s", path, token, code, text, want)
			}
		}
		if code, text, _ := f.getText(t, "/", token); code != 503 || !strings.Contains(text, reason) {
			t.Errorf("page, token %q: %d %s", token, code, text)
		}
	}
	must(t, os.Remove(f.data))
	must(t, os.Rename(f.data+".away", f.data))
}

func TestUpdaterWithoutPage(t *testing.T) {
	f := start(t, nil)
	for _, path := range []string{"/", "/?id=1", "/assets/x/page.js", "/generations", "/promotions/1/history", "/generations/1/diff/2"} {
		f.get(t, path).want(t, http.StatusNotFound, "")
	}
}

// A client that goes away, and Shutdown, end a comparison.
func TestDiffOfUpdaterEnds(t *testing.T) {
	f := start(t, withPage)
	gentest.Publish(t, f.data, 1, gentest.Sequence(200_000))
	gentest.Publish(t, f.data, 2, nil)
	path := fmt.Sprintf("http://%s/generations/%s/diff/%s?limit=10000", f.address, generation.ID(1), generation.ID(2))
	hold := func(ctx context.Context) *http.Response {
		for {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
			must(t, err)
			res, err := f.client.Do(req)
			must(t, err)
			if res.StatusCode != http.StatusTooManyRequests {
				return res
			}
			res.Body.Close()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	res := hold(ctx)
	cancel()
	res.Body.Close()
	res = hold(t.Context()) // as soon as the first has ended
	ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go func() { _, _ = io.Copy(io.Discard, res.Body); res.Body.Close() }()
	must(t, f.Shutdown(ctx))
	f.awaitServed(t)
}
