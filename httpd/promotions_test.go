package httpd_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"promostore/format"
	"promostore/httpd"
	"promostore/reader"
)

const (
	exampleID   = "172FFC14-D229-4C93-B06B-F48B8C095512"
	exampleJSON = `{"id":"172FFC14-D229-4C93-B06B-F48B8C095512","price":9.68,"expiration_date":"2022-06-04 06:01:20"}`
	unknownJSON = `{"error":"promotion not found"}`
)

func TestGetAnswersPromotion(t *testing.T) {
	f := serveMemory(t, rows)
	a := f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
	for name, want := range map[string]string{
		"Content-Type":            "application/json",
		"X-Promotions-Generation": genID(0).String(),
		"Content-Length":          fmt.Sprint(len(exampleJSON) + 1),
	} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if a.header.Get("Date") == "" || a.header.Get("ETag") == "" {
		t.Errorf("Date or ETag is missing: %v", a.header)
	}
	for _, r := range rows {
		wall := strings.Replace(r.date, "T", " ", 1)[:19]
		f.get(t, "/promotions/"+r.id).want(t, 200, promotionJSON(r.id, r.price, wall))
	}
}

func TestGetAcceptsAllSpellings(t *testing.T) {
	f := serveMemory(t, rows)
	lower := strings.ToLower(exampleID)
	bare := strings.ReplaceAll(exampleID, "-", "")
	for _, id := range []string{
		exampleID, lower, exampleID[:18] + lower[18:],
		bare, strings.ToLower(bare),
		"{" + exampleID + "}", "%7B" + lower + "%7D",
		"urn:uuid:" + lower, "URN:UUID:" + exampleID,
		"%31" + exampleID[1:],
		exampleID + "?query", "./" + exampleID, "/" + exampleID,
	} {
		t.Run(id, func(t *testing.T) { f.get(t, "/promotions/"+id).want(t, 200, exampleJSON) })
	}
}

func TestGetUnknownAnswers404(t *testing.T) {
	f := serveMemory(t, rows)
	for _, id := range []string{
		"172FFC14-D229-4C93-B06B-F48B8C095513", "test", "1", "", "%00", "..%2f..%2fetc", exampleID + "/",
		exampleID + "0", exampleID[1:], "{" + exampleID, "urn:uuid:", strings.Repeat("a", 5000),
		strings.Replace(exampleID, "F", "G", 1),
	} {
		if id == "..%2f..%2fetc" { // a path outside of /promotions/
			f.get(t, "/promotions/"+id).want(t, 404, `{"error":"not found"}`)
			continue
		}
		a := f.get(t, "/promotions/"+id).want(t, 404, unknownJSON)
		if got := a.header.Get("X-Promotions-Generation"); got != genID(0).String() {
			t.Errorf("generation %q", got)
		}
	}
	for _, path := range []string{"/", "/promotions", "/promotion/" + exampleID, "/PROMOTIONS/" + exampleID, "/debug/pprof/"} {
		f.get(t, path).want(t, 404, `{"error":"not found"}`)
	}
}

func TestGetFollowsJSONOptions(t *testing.T) {
	for _, c := range []struct {
		style format.JSONOptions
		want  string
	}{
		{format.JSONOptions{Date: format.DateSource, Decimals: -1}, `{"id":"%s","price":60.683466,"expiration_date":"2018-08-04 05:32:31 +0200 CEST"}`},
		{format.JSONOptions{Date: format.DateUTC, Decimals: 2}, `{"id":"%s","price":60.68,"expiration_date":"2018-08-04 03:32:31"}`},
		{format.JSONOptions{Date: format.DateRFC3339, Decimals: 0}, `{"id":"%s","price":60,"expiration_date":"2018-08-04T05:32:31+02:00"}`},
	} {
		f := newFixture(t, httpd.Options{JSON: c.style}, reader.StoreOptions{})
		publish(t, f.dir, genID(0), rows)
		f.poll(t)
		f.listen(t)
		f.get(t, "/promotions/"+rows[1].id).want(t, 200, fmt.Sprintf(c.want, rows[1].id))
	}
}

func TestHeadAnswersHeadersOfGet(t *testing.T) {
	f := serveMemory(t, rows)
	for _, path := range []string{"/promotions/" + exampleID, "/promotions/1", "/healthz", "/readyz", "/none"} {
		get, head := f.get(t, path), f.do(t, http.MethodHead, path, "")
		if head.code != get.code || head.body != "" {
			t.Errorf("HEAD %s: %d %q, GET: %d", path, head.code, head.body, get.code)
		}
		for _, name := range []string{"Content-Type", "Content-Length", "Etag", "X-Promotions-Generation"} {
			if head.header.Get(name) != get.header.Get(name) {
				t.Errorf("HEAD %s: %s %q, GET: %q", path, name, head.header.Get(name), get.header.Get(name))
			}
		}
	}
}

func TestOtherMethodsAnswer405(t *testing.T) {
	f := serveMemory(t, rows)
	for _, c := range []struct{ method, path, allow string }{
		{"POST", "/promotions/" + exampleID, "GET, HEAD"},
		{"PUT", "/promotions/" + exampleID, "GET, HEAD"},
		{"DELETE", "/promotions/1", "GET, HEAD"},
		{"OPTIONS", "/promotions/" + exampleID, "GET, HEAD"},
		{"PATCH", "/healthz", "GET, HEAD"},
		{"POST", "/readyz", "GET, HEAD"},
		{"POST", "/prometheus", "GET, HEAD"},
		{"POST", "/metrics", "GET, HEAD"},
		{"GET", "/promotions/lookup", "POST"},
		{"PUT", "/promotions/lookup", "POST"},
	} {
		a := f.do(t, c.method, c.path, "").want(t, 405, `{"error":"method not allowed"}`)
		if got := a.header.Get("Allow"); got != c.allow {
			t.Errorf("%s %s: Allow %q, want %q", c.method, c.path, got, c.allow)
		}
	}
	f.do(t, "POST", "/none", "").want(t, 404, `{"error":"not found"}`)
}

func TestMissingGenerationAnswers503(t *testing.T) {
	f := serveMemory(t, nil)
	for _, request := range [][2]string{{"GET", "/promotions/" + exampleID}, {"GET", "/promotions/1"}, {"POST", "/promotions/lookup"}} {
		a := f.do(t, request[0], request[1], `{"ids":[]}`).want(t, 503, `{"error":"no generation is live"}`)
		if a.header.Get("Retry-After") != "1" {
			t.Errorf("%s: %v", request, a.header)
		}
	}
	if a := f.get(t, "/readyz").want(t, 503, `{"error":"no generation yet"}`); a.header.Get("Retry-After") != "1" {
		t.Errorf("/readyz: %v", a.header)
	}
	f.get(t, "/healthz").want(t, 200, `{"status":"ok"}`)
	publish(t, f.dir, genID(0), rows)
	f.poll(t)
	f.get(t, "/readyz").want(t, 200, `{"status":"ready"}`)
	f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
}

func TestGetDoesNotAllocate(t *testing.T) {
	f := newFixture(t, httpd.Options{CacheControl: "public, max-age=60", Page: true}, reader.StoreOptions{})
	publish(t, f.dir, genID(0), rows)
	f.poll(t)
	tag := string(httpd.AppendETag(nil, []byte(exampleJSON+"\n")))
	for name, c := range map[string]struct {
		method, uri, tag string
		code             int
	}{
		"found":           {"GET", "/promotions/" + exampleID, "", 200},
		"found, head":     {"HEAD", "/promotions/" + exampleID, "", 200},
		"bare id":         {"GET", "/promotions/" + strings.ReplaceAll(exampleID, "-", ""), "", 200},
		"changed":         {"GET", "/promotions/" + exampleID, `"0", "1"`, 200},
		"not modified":    {"GET", "/promotions/" + exampleID, tag, 304},
		"among others":    {"HEAD", "/promotions/" + exampleID, `"0", ` + tag, 304},
		"unknown":         {"GET", "/promotions/172FFC14-D229-4C93-B06B-F48B8C095513", "", 404},
		"unknown, tagged": {"GET", "/promotions/172FFC14-D229-4C93-B06B-F48B8C095513", tag, 404},
		"unknown, head":   {"HEAD", "/promotions/172FFC14-D229-4C93-B06B-F48B8C095513", "", 404},
		"not an id":       {"GET", "/promotions/1", "", 404},
	} {
		var ctx fasthttp.RequestCtx
		var req fasthttp.Request
		req.SetRequestURI(c.uri)
		req.Header.SetMethod(c.method)
		if c.tag != "" {
			req.Header.Set("If-None-Match", c.tag)
		}
		ctx.Init(&req, nil, nil)
		ctx.Response.KeepBodyBuffer = true // like the server
		if n := testing.AllocsPerRun(100, func() {
			f.Handle(&ctx)
			if got := ctx.Response.StatusCode(); got != c.code {
				t.Fatalf("%s: %d", name, got)
			}
			ctx.Response.Reset()
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
