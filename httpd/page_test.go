package httpd_test

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/httpd"
	"promostore/internal/gentest"
	"promostore/page"
	"promostore/reader"
)

// has checks that the body of a has all of parts.
func (a answer) has(t testing.TB, code int, parts ...string) answer {
	t.Helper()
	if a.code != code {
		t.Errorf("code %d, want %d", a.code, code)
	}
	for _, part := range parts {
		if !strings.Contains(a.body, part) {
			t.Errorf("the page lacks %q: %.5000s", part, a.body)
		}
	}
	return a
}

// lacks checks that the body of a has none of parts.
func (a answer) lacks(t testing.TB, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if strings.Contains(a.body, part) {
			t.Errorf("the page has %q", part)
		}
	}
}

// hasPageHeaders checks the headers that protect the page.
func (a answer) hasPageHeaders(t testing.TB) {
	t.Helper()
	for _, header := range page.Headers {
		if got := a.header.Values(header[0]); len(got) != 1 || got[0] != header[1] {
			t.Errorf("%s: %q, want %q", header[0], got, header[1])
		}
	}
}

// The page shows to every client what the requests for JSON tell it. Names of files
// and persons, and rows, are for operators.
func TestPageShowsGenerations(t *testing.T) {
	f := withPage(t)
	f.listen(t)
	must(t, generation.SetPin(f.dir, generation.Pin{Active: true, ID: genID(0), By: "ana", Reason: "secret reason"}))
	must(t, os.WriteFile(filepath.Join(f.dir, generation.Name{ID: genID(2), Shards: 1}.String()), []byte("not a generation"), 0o644))
	f.poll(t)
	f.await(t, reader.EventRefused) // by the goroutine of the standby
	a := f.get(t, "/").has(t, 200,
		"<title>"+genID(0).String()+" live", "promoserve", "<strong>Refused:</strong> one file is not servable",
		"<strong>Pinned:</strong> generation "+genID(0).String(),
		`<span class="tag live">live</span> <span class="tag pinned">pinned</span>`, `<span class="tag refused">refused</span>`,
		"command, 6 rows, 1 bad, 1.5 s", `<time datetime="2026-11-22T10:30:00Z">2026-11-22 10:30:00</time>`, "Last hour")
	a.hasPageHeaders(t)
	if a.header.Get("Content-Type") != "text/html; charset=utf-8" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", a.header)
	}
	a.lacks(t, "ana", "secret", "&lt;script", ".pgen", "data-action", f.dir)
	for _, asset := range regexp.MustCompile(`"(assets/[^"]*)"`).FindAllStringSubmatch(a.body, -1) {
		b := f.get(t, "/"+asset[1]).has(t, 200)
		b.hasPageHeaders(t)
		if b.header.Get("Cache-Control") != "public, max-age=31536000, immutable" || b.body == "" {
			t.Errorf("%s: %v", asset[1], b.header)
		}
	}
}

// Forms of the page are plain GET requests, which work without JavaScript.
func TestPageLooksUpAndCompares(t *testing.T) {
	f := withPage(t)
	f.listen(t)
	for _, id := range append(spellings(rows[1].id), "%20"+rows[1].id+"+") {
		f.get(t, "/?id="+id).has(t, 200,
			`<p class="answer"><code>{&#34;id&#34;:&#34;`+rows[1].id+`&#34;,&#34;price&#34;:61,&#34;expiration_date&#34;:&#34;2018-08-04 05:32:31&#34;}</code></p>`,
			`<td class="num">61</td>`, `<td class="num up">&#43;0.5 %</td>`, `<td class="num">60.683466</td>`, `<span class="tag warn">expired</span>`)
	}
	f.get(t, "/?id="+rows[2].id).has(t, 200, "The live generation has no promotion <code>"+rows[2].id, `class="num absent">not there<`, ">-0.50<").lacks(t, `class="answer"`)
	f.get(t, "/?id=1").has(t, 200, `<p class="notice bad">not a promotion ID such as 172FFC14-D229-4C93-B06B-F48B8C095512</p>`, `value="1"`)
	f.get(t, "/?id=").has(t, 200).lacks(t, `role="status"`)
	path := fmt.Sprintf("/?from=%s&to=%s", genID(0), genID(1))
	f.get(t, path).has(t, 200, `<dt>Added</dt><dd class="up">1<`, `<dt>Removed</dt><dd class="down">2<`, `<dt>Changed</dt><dd>1<`, `<dt>Same</dt><dd>2<`, ">All differences</p>",
		`aria-label="Compare from `+genID(0).String()+`" checked>`, `aria-label="Compare to `+genID(1).String()+`" checked>`,
		`<span class="tag changed">changed</span>`, `<td class="num">60.683466</td><td class="num">61</td>`, `href="?id=`+rows[1].id+`#lookup"`)
	f.get(t, "/?from="+genID(0).String()).has(t, 200, "Choose two generations", ">Comparison</h2>")
	must(t, os.WriteFile(filepath.Join(f.dir, generation.Name{ID: genID(2), Shards: 1}.String()), []byte("not a generation"), 0o644))
	f.get(t, "/").has(t, 200, genID(2).String(), `aria-label="Compare from `+genID(0).String()+`" checked>`, `aria-label="Compare to `+genID(1).String()+`" checked>`)
	f.get(t, "/?from=x&to=y").has(t, 200, "&#34;x&#34; is not a generation")
	f.get(t, fmt.Sprintf("/?from=%s&to=%s", genID(0), genID(7))).has(t, 200, "no such generation")
}

// The page shows the body of GET, whatever the spelling of newer generations.
func TestPageShowsAnswerOfLiveGeneration(t *testing.T) {
	const lower, upper = "aaaaaaaa-bbbb-0000-0000-00000000000f", "AAAAAAAA-BBBB-0000-0000-00000000000F"
	for _, opts := range []format.JSONOptions{format.DefaultJSONOptions, {Decimals: 1, Date: format.DateSource}, {Decimals: -1, Date: format.DateRFC3339}} {
		f := newFixture(t, httpd.Options{Page: true, JSON: opts}, reader.StoreOptions{})
		f.listen(t)
		for k, id := range []string{lower, upper, lower, upper} {
			publish(t, f.dir, genID(k), []row{{id, fmt.Sprintf("-%d.250", k), "2018-08-04 05:32:31 +0200 CEST"}})
		}
		for k, id := range []string{lower, upper} {
			f.pin(t, genID(k))
			f.poll(t)
			a := f.get(t, "/promotions/"+id)
			if !strings.Contains(a.body, id) {
				t.Errorf("GET: %+v", a)
			}
			shown := f.get(t, "/?id="+lower)
			shown.body = html.UnescapeString(shown.body)
			shown.has(t, 200, `<p class="answer"><code>`+a.body+`</code></p>`)
		}
	}
}

func TestPageOfEmptyDirectory(t *testing.T) {
	f := newFixture(t, httpd.Options{Page: true}, reader.StoreOptions{})
	f.listen(t)
	f.get(t, "/?id="+exampleID).has(t, 200, "nothing live", "No generation is live", "No generation is in the directory yet").lacks(t, "The live generation has no promotion")
	must(t, os.RemoveAll(f.dir))
	must(t, os.WriteFile(f.dir, nil, 0o644))
	f.get(t, "/").has(t, 503, "the directory cannot be read: not a directory").hasPageHeaders(t)
}

func TestPageOfForeignID(t *testing.T) {
	d := parseDigits(t, "0-7")
	f := newFixture(t, httpd.Options{Page: true}, reader.StoreOptions{Digits: d})
	publishShards(t, f.dir, genID(0), byLast, d, gentest.Scattered(100))
	f.poll(t)
	f.listen(t)
	f.get(t, "/?id=00000000-0000-0000-0000-00000000000F").has(t, 200, "this server serves only ids whose last digit is in 0-7", ", digits 0-7 here</dd>")
}

func TestPageAllowsGetAndHead(t *testing.T) {
	f := withPage(t)
	f.listen(t)
	asset := "/" + regexp.MustCompile(`assets/[^"]*js`).FindString(f.get(t, "/").body)
	for _, path := range []string{"/", "/?id=" + exampleID, fmt.Sprintf("/?from=%s&to=%s", genID(0), genID(1)), "/activity", asset} {
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
			if a := f.do(t, method, path, "x").want(t, 405, `{"error":"method not allowed"}`); a.header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %v", method, path, a.header)
			}
		}
		if a := f.do(t, "HEAD", path, ""); a.code != 200 || a.body != "" || a.header.Get("Content-Length") == "0" {
			t.Errorf("HEAD %s: %+v", path, a)
		}
	}
	for _, path := range []string{"/assets/", "/assets/page.js", "/assets/x/../../page.go", "/index.html", asset + "/", "/activity/"} {
		f.get(t, path).want(t, 404, `{"error":"not found"}`)
	}
}

func TestWithoutPageThereIsNone(t *testing.T) {
	f := serveMemory(t, rows)
	for _, path := range []string{"/", "/?id=" + exampleID, "/activity", "/assets/", "/assets/x/page.js"} {
		f.get(t, path).want(t, 404, `{"error":"not found"}`)
	}
}

// A proxy that forwards only paths below /promotions/ may not resolve dot segments.
func TestDotSegmentsDoNotLeavePromotions(t *testing.T) {
	f := withPage(t)
	f.listen(t)
	for _, path := range []string{"", "status", "activity", "generations", "metrics", "healthz", "assets/x"} {
		for _, prefix := range []string{"/promotions/../", "/promotions/%2e%2e/", "/promotions/x/../../", "/promotions/..%2f", "/promotions/.%2E%2F", "/promotions/x%2f../../", "/promotions/lookup/../../"} {
			c, r := f.dial(t)
			_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", prefix+path)
			must(t, err)
			if a := receive(t, r); a.code != 404 || strings.Contains(a.body, "<") {
				t.Errorf("%s%s: %d %s", prefix, path, a.code, a.body)
			}
			c.Close()
		}
	}
}

// TestPageEscapesHostileTexts sends hostile queries, and has hostile texts in a pin and a
// summary.
func TestPageEscapesHostileTexts(t *testing.T) {
	f := withPage(t)
	f.listen(t)
	const evil = `"><script>alert(1)</script>` + "\u202e\x00"
	must(t, generation.SetPin(f.dir, generation.Pin{Active: true, ID: genID(1), By: "<b>ana", Reason: evil}))
	f.poll(t)
	must(t, generation.WriteSummary(f.dir, genID(1), generation.Summary{
		Program: evil, Source: generation.SourceInbox, Inputs: []generation.SummaryInput{{Name: evil}}, Rows: 1, BadRows: 1,
		Bad: []generation.SummaryBadRow{{File: evil, Line: 1, Column: 1, Reason: evil, Row: evil}},
	}))
	q := url.QueryEscape(evil)
	for _, path := range []string{"/", "/?id=" + q, "/?from=" + q + "&to=" + q, "/?id=" + q + "&from=" + q, "/?id=" + exampleID + "&id=" + q, "/?" + q, "/?id=%zz&from=%00"} {
		a := f.get(t, path).has(t, 200)
		if n := strings.Count(a.body, "<script"); n != 1 {
			t.Errorf("%s: %d scripts", path, n)
		}
		a.lacks(t, "\u202e", "\x00", "<b>ana")
	}
	must(t, os.WriteFile(filepath.Join(f.dir, generation.SummaryName(genID(1))), []byte(`{"version":1,"source":"<script>"}`), 0o644))
	f.get(t, "/").has(t, 200)
	f.get(t, "/?id="+strings.Repeat("a", 7000)).has(t, 200, "not a promotion ID such as 172FFC14-D229-4C93-B06B-F48B8C095512")
}

// The page takes part in the limits of the requests for JSON.
func TestPageWhileAnotherComparisonRuns(t *testing.T) {
	f, path := withLargeDiff(t)
	f.listen(t)
	f.holdDiff(t, path)
	a := f.get(t, fmt.Sprintf("/?from=%s&to=%s", genID(0), genID(1))).has(t, 429, "another comparison is under way", "<h2 id=\"generations-title\">")
	if a.header.Get("Retry-After") != "5" {
		t.Errorf("headers %v", a.header)
	}
	a.hasPageHeaders(t)
	f.get(t, "/").has(t, 200)
	f.Drain()
	f.get(t, fmt.Sprintf("/?from=%s&to=%s", genID(0), genID(1))).has(t, 503, "the server is stopping")
}

// Many clients of the page neither fail nor stop those of promotions.
func TestPageBesidePromotions(t *testing.T) {
	f := withPage(t)
	f.listen(t)
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			for i := range 5 {
				path := []string{"/", "/?id=" + exampleID, "/activity", fmt.Sprintf("/?from=%s&to=%s", genID(0), genID(1))}[i%4]
				if a := f.get(t, path); a.code != 200 && a.code != 429 {
					t.Errorf("%s: %d", path, a.code)
				}
				f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
			}
		})
	}
	clients.Wait()
}

// Activity has the requests for promotions and no others.
func TestActivityCountsRequestsOfMinutes(t *testing.T) {
	f := withPage(t)
	ticks := make(chan time.Time)
	f.RecordMinutes(ticks)
	f.listen(t)
	f.get(t, "/promotions/"+exampleID)
	f.get(t, "/promotions/x").want(t, 404, unknownJSON)
	f.get(t, "/status")
	now := time.Date(2026, 11, 27, 10, 0, 30, 5, time.UTC)
	ticks <- now
	ticks <- now.Add(time.Minute) // after the first has ended
	f.do(t, http.MethodPost, "/promotions/lookup", `{"ids":[]}`)
	ticks <- now.Add(2 * time.Minute)
	ticks <- now.Add(3 * time.Minute) // after the third has ended
	a := f.get(t, "/activity")
	var got page.Activity
	must(t, json.Unmarshal([]byte(a.body), &got))
	// The request between the second and the third tick may count in either minute.
	list := slices.DeleteFunc(got.Minutes[:], func(m page.Minute) bool { return m.Requests == 0 })
	if got.Until == nil || !strings.HasPrefix(a.body, `{"until":"2026-11-27T10:0`) || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v %.100s", a.header, a.body)
	}
	if len(list) != 2 || list[0].Requests != 2 || list[0].Errors != 0 || list[0].P50 <= 0 || list[0].P99 < list[0].P50 || list[0].P99 > 1 || list[1].Requests != 1 {
		t.Errorf("%+v", list)
	}
	f.get(t, "/").has(t, 200, "highest 2, last minute ")
}

// Without a generation all requests for promotions are errors.
func TestActivityCountsErrors(t *testing.T) {
	f := newFixture(t, httpd.Options{Page: true}, reader.StoreOptions{})
	ticks := make(chan time.Time)
	f.RecordMinutes(ticks)
	f.listen(t)
	f.get(t, "/promotions/"+exampleID)
	ticks <- time.Now()
	ticks <- time.Now() // after the first has ended
	f.get(t, "/").has(t, 200, "Errors a minute", "highest 1,")
}
