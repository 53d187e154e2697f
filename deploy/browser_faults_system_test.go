//go:build system

package deploy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// A middlebox forwards requests to a server, except those that it answers itself.
type middlebox struct {
	*httptest.Server

	mu      sync.Mutex
	answers map[string]cannedAnswer // by path, or the directory of the path
	tokens  map[string]bool         // Authorization headers of all requests
}

type cannedAnswer struct {
	status int
	text   string
}

func newMiddlebox(t *testing.T, to string) *middlebox {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	r := &middlebox{tokens: map[string]bool{}}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.Out.Host = p.In.Host // the origin of the page
	}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.tokens[req.Header.Get("Authorization")] = true
		a, ok := r.answers[req.URL.Path]
		if !ok {
			a, ok = r.answers[path.Dir(req.URL.Path)]
		}
		r.mu.Unlock()
		if !ok {
			proxy.ServeHTTP(w, req)
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.text)
	}))
	t.Cleanup(r.Close)
	return r
}

// answer makes r answer requests from now on.
func (r *middlebox) answer(answers map[string]cannedAnswer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers = answers
}

// TestPageShowsStrangeAnswers checks that the page shows each answer that is not from the
// updater, or lacks what its answers have, and accepts the next upload.
func TestPageShowsStrangeAnswers(t *testing.T) {
	data, ids := threeGenerations(t)
	r := newMiddlebox(t, startOpenUpdater(t, data).url)
	b := browse(t)
	b.allow("status of 404", "status of 500", "status of 502")
	b.open(r.URL + "/")
	small := writeFile(t, "small.csv", promotionsCSV(0, 10, "1"))
	for _, c := range []struct {
		path   string
		status int
		text   string
		want   string
	}{
		{"/upload", 200, "<h1>Welcome to the network</h1>", "200 <h1>Welcome"},
		{"/upload", 202, "null", "202 null"},
		{"/upload", 502, `{"message":"bad gateway"}`, `502 {"message"`},
		{"/uploads", 404, `{"error":"unknown upload"}`, "unknown upload"},
		{"/uploads", 200, `{"status":500,"answer":{}}`, "no reason"},
		{"/uploads", 500, `[]`, "no reason"},
	} {
		r.answer(map[string]cannedAnswer{"/upload": {202, `{"upload":"x"}`}, c.path: {c.status, c.text}})
		b.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{small}))
		b.click("#send")
		b.waitText("#result", c.want)
		b.wait("!document.getElementById('send').disabled")
		b.unharmed()
	}

	r.answer(map[string]cannedAnswer{"/pin": {500, "{}"}})
	b.click(fmt.Sprintf("[data-action=pin][data-generation=%q]", ids[0]))
	b.do(chromedp.SendKeys(chromedp.CSS("#reason"), "wrong prices"))
	b.click("#confirm-yes")
	b.waitText("#result .notice.bad", "500 {}")
}

// TestPageDuringUpload checks that a transfer is not interrupted without a question, and
// that the updater sees no token that the user is still typing. A change of the pin leaves
// the progress where it is.
func TestPageDuringUpload(t *testing.T) {
	data, ids := threeGenerations(t)
	r := newMiddlebox(t, withToken(t, data).url)
	b := browse(t)
	var asked sync.WaitGroup
	asked.Add(1)
	if err := chromedp.Listen(b.ctx, func(event any) {
		if e, ok := event.(*page.EventJavascriptDialogOpening); ok && e.Type == page.DialogTypeBeforeunload {
			go func() {
				_, err := chromedp.Call(b.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: false})
				if err != nil {
					t.Error(err)
				}
				asked.Done()
			}()
		}
	}); err != nil {
		t.Fatal(err)
	}
	b.open(r.URL + "/")
	b.fill("#token", "secret")
	throttle := func(rate float64) {
		conditions := []*network.Conditions{{UploadThroughput: rate, DownloadThroughput: -1}}
		if _, err := chromedp.Call(b.ctx, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{MatchedNetworkConditions: conditions}); err != nil {
			t.Fatal(err)
		}
	}
	throttle(1000)
	b.do(chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{writeFile(t, "small.csv", promotionsCSV(0, 1000, "1"))}))
	b.click("#send")
	b.waitText("#progress", "Sending")
	b.click("#lookup a, header .name a")
	asked.Wait()
	b.waitText("#progress", "Sending")
	r.answer(map[string]cannedAnswer{"/uploads": {200, `{"building":{"phase":"sort","rows":5,"percent":50}}`}})
	throttle(-1)
	b.waitText("#progress", "sort: 5 rows")
	b.click(fmt.Sprintf("[data-action=pin][data-generation=%q]", ids[0]))
	b.do(chromedp.SendKeys(chromedp.CSS("#reason"), "wrong prices"))
	b.click("#confirm-yes")
	b.waitText("#result .notice.good", ids[0])
	b.waitText("#progress", "sort: 5 rows")
	b.fill("#token", "half")
	r.answer(map[string]cannedAnswer{"/uploads": {200, `{"building":{"phase":"publish","rows":6,"percent":60}}`}})
	b.waitText("#progress", "publish: 6 rows")
	r.answer(nil)
	b.waitText("#result .notice.good", "Published generation")
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.tokens) != 2 || !r.tokens[""] || !r.tokens["Bearer secret"] {
		t.Errorf("the page sent the tokens %v", r.tokens)
	}
}
