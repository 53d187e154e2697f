package httpd_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"promostore/format"
	"promostore/format/generation"
	"promostore/httpd"
	"promostore/internal/gentest"
	"promostore/reader"
	"promostore/web"
)

var (
	byLast  = format.Sharding{Rule: format.ShardLast, Shards: 16}
	byFirst = format.Sharding{Rule: format.ShardFirst, Shards: 64}
)

func parseDigits(t testing.TB, text string) generation.Digits {
	t.Helper()
	d, err := generation.ParseDigits(text)
	must(t, err)
	return d
}

// serveShards serves records on a port of the loopback interface. The directory
// has only the shards of the digits.
func serveShards(t testing.TB, s format.Sharding, digits string, records []format.Record) *fixture {
	t.Helper()
	d := parseDigits(t, digits)
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{Digits: d})
	publishShards(t, f.dir, genID(0), s, d, records)
	f.poll(t)
	f.listen(t)
	return f
}

// spellings returns a canonical id in every form that a path may have.
func spellings(id string) []string {
	bare := strings.ReplaceAll(id, "-", "")
	forms := []string{id, bare, "{" + id + "}", "urn:uuid:" + id}
	for _, form := range slices.Clone(forms) {
		forms = append(forms, strings.ToUpper(form))
	}
	for _, form := range slices.Clone(forms) {
		forms = append(forms, percentEncoded(form))
	}
	return forms
}

func percentEncoded(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

// byDigit returns the ids of records by their deciding digit.
func byDigit(s format.Sharding, records []format.Record) (ids [16][]string) {
	for _, r := range records {
		d := s.DigitOf(r.Key())
		ids[d] = append(ids[d], r.Key().String())
	}
	return ids
}

func foreignJSON(s format.Sharding, digits, id string) string {
	return fmt.Sprintf(`{"error":"id %s: this server serves only ids whose %s digit is in %s","digits":"%s"}`, id, s.Rule, digits, digits)
}

// TestForeignIDAnswers421 asks servers of some digits for promotions of all
// digits, in every spelling, over TCP.
func TestForeignIDAnswers421(t *testing.T) {
	records := gentest.Scattered(2000)
	more := gentest.Scattered(2200) // has all of records
	for _, s := range []format.Sharding{byLast, byFirst} {
		for _, digits := range []string{"0-7", "0,5,a-c,f", "9", "0-f"} {
			t.Run(s.Rule.String()+" "+digits, func(t *testing.T) {
				f := serveShards(t, s, digits, records)
				owned := parseDigits(t, digits)
				known, all := byDigit(s, records), byDigit(s, more)
				for d := range 16 {
					unknown := all[d][slices.IndexFunc(all[d], func(id string) bool { return !slices.Contains(known[d], id) })]
					for _, id := range []string{known[d][0], known[d][len(known[d])-1], unknown} {
						for _, text := range spellings(id) {
							f.wantShard(t, s, digits, text, owned.Has(d), id != unknown)
						}
					}
				}
			})
		}
	}
}

// wantShard checks the answers to GET and HEAD of an id, which the server has or
// has not, and which the generation has or has not.
func (f *fixture) wantShard(t testing.TB, s format.Sharding, digits, text string, owned, known bool) {
	t.Helper()
	path := "/promotions/" + text
	a, head := f.get(t, path), f.do(t, http.MethodHead, path, "")
	plain := text
	if strings.HasPrefix(text, "%") {
		plain = ""
		for hex := range strings.SplitSeq(text[1:], "%") {
			var c byte
			_, _ = fmt.Sscanf(hex, "%02X", &c)
			plain += string(c)
		}
	}
	switch {
	case !owned:
		a.want(t, 421, foreignJSON(s, digits, plain))
		if got := a.header.Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q, want no-store", path, got)
		}
	case !known:
		a.want(t, 404, unknownJSON)
	case a.code != 200 || !strings.Contains(a.body, `"price":1,`):
		t.Errorf("%s: %d %s", path, a.code, a.body)
	}
	if got := a.header.Get("X-Promotions-Generation"); got != genID(0).String() {
		t.Errorf("%s: generation %q", path, got)
	}
	if head.code != a.code || head.body != "" {
		t.Errorf("HEAD %s: %d %q, GET: %d", path, head.code, head.body, a.code)
	}
	for _, name := range []string{"Content-Type", "Content-Length", "Cache-Control", "Etag", "X-Promotions-Generation"} {
		if head.header.Get(name) != a.header.Get(name) {
			t.Errorf("HEAD %s: %s %q, GET: %q", path, name, head.header.Get(name), a.header.Get(name))
		}
	}
}

// TestForeignIDHasNoBodyForHEAD sends the next request on the same connection. A
// body would precede its answer.
func TestForeignIDHasNoBodyForHEAD(t *testing.T) {
	f := serveShards(t, byLast, "0-7", gentest.Sequence(16))
	f.SetLogSlow(0)
	foreign, own := gentest.Sequence(16)[15].Key().String(), gentest.Sequence(16)[0].Key().String()
	c, r := f.dial(t)
	_, err := fmt.Fprintf(c, "HEAD /promotions/%s HTTP/1.1\r\nHost: x\r\n\r\n%s", foreign, request("/promotions/"+own))
	must(t, err)
	head, err := http.ReadResponse(r, &http.Request{Method: http.MethodHead})
	must(t, err)
	api.Observe(t, http.MethodHead, "/promotions/"+foreign, head)
	if want := int64(len(foreignJSON(byLast, "0-7", foreign) + "\n")); head.StatusCode != 421 || head.ContentLength != want {
		t.Errorf("HEAD: %d, length %d, want 421, %d", head.StatusCode, head.ContentLength, want)
	}
	if a := receive(t, r); a.code != 200 {
		t.Errorf("next answer: %d %s", a.code, a.body)
	}
	if want := "method=HEAD uri=/promotions/" + foreign; !strings.Contains(f.log.String(), " code=421 ") || !strings.Contains(f.log.String(), want) {
		t.Errorf("the log of slow requests does not contain %q: %s", want, f.log)
	}
}

// TestMalformedIDIsNotForeign checks that a text that is no id is answered 404,
// whatever its digits.
func TestMalformedIDIsNotForeign(t *testing.T) {
	f := serveShards(t, byLast, "0-7", gentest.Scattered(2000))
	for _, id := range []string{"f", "172ffc14-d229-4c93-b06b-f48b8c09551", "172ffc14-d229-4c93-b06b-f48b8c09551g", "172ffc14-d229-4c93-b06b-f48b8c0955120f", "(172ffc14-d229-4c93-b06b-f48b8c09551f)"} {
		f.get(t, "/promotions/"+id).want(t, 404, unknownJSON)
	}
	f.do(t, "POST", "/promotions/lookup", `{"ids":["f"]}`).want(t, 200, `{"promotions":[],"not_found":["f"]}`)
	if got := f.metric(t, `promoserve_lookups_total{result="foreign"}`); got != "0" {
		t.Errorf("%s ids counted as foreign, want 0", got)
	}
}

// TestLookupOfForeignIDAnswers421 puts one foreign id among 600 others, at places in
// several groups.
func TestLookupOfForeignIDAnswers421(t *testing.T) {
	const digits = "0-7"
	for _, s := range []format.Sharding{byLast, byFirst} {
		f := serveShards(t, s, digits, gentest.Scattered(4000))
		known := byDigit(s, gentest.Scattered(4000))
		var own []string
		for d := range 8 {
			own = append(own, known[d]...)
		}
		own = own[:600]
		post := func(path string, ids []string) answer {
			query, err := json.Marshal(map[string][]string{"ids": ids})
			must(t, err)
			return f.do(t, "POST", path, string(query))
		}
		full := post("/promotions/lookup", own)
		var found lookupAnswer
		must(t, json.Unmarshal([]byte(full.body), &found))
		if full.code != 200 || len(found.Promotions) != 600 || len(found.NotFound) != 0 {
			t.Errorf("%d: %d promotions, %d not found", full.code, len(found.Promotions), len(found.NotFound))
		}
		for d := range 16 {
			for _, digit := range []string{fmt.Sprintf("%x", d), fmt.Sprintf("%X", d)} {
				if a := post("/promotions/lookup/"+digit, own); a.code != 200 || a.body != full.body {
					t.Errorf("lookup/%s: %d %.100s", digit, a.code, a.body)
				}
			}
		}
		requests := 0
		for _, at := range []int{0, 1, 255, 256, 599, 600} {
			for _, path := range []string{"/promotions/lookup", "/promotions/lookup/3"} {
				id := strings.ToUpper("{" + known[8+at%8][at%4] + "}")
				ids := append(slices.Insert(slices.Clone(own), at, "f", id), known[15][0])
				a := post(path, ids).want(t, 421, foreignJSON(s, digits, id))
				if a.header.Get("Cache-Control") != "no-store" || a.header.Get("X-Promotions-Generation") != genID(0).String() {
					t.Errorf("headers %v", a.header)
				}
				requests++
			}
		}
		for name, want := range map[string]int{
			`promoserve_lookups_total{result="foreign"}`:                   requests,
			`promoserve_lookups_total{result="found"}`:                     33 * 600,
			`promoserve_lookups_total{result="not_found"}`:                 0,
			`promoserve_lookups_total{result="malformed"}`:                 0,
			`promoserve_http_requests_total{endpoint="lookup",code="421"}`: requests,
			`promoserve_http_requests_total{endpoint="lookup",code="200"}`: 33,
		} {
			if got := f.metric(t, name); got != fmt.Sprint(want) {
				t.Errorf("%s is %s, want %d", name, got, want)
			}
		}
	}
}

// TestServerOfDigitsServesUnshardedGeneration checks that digits divide only
// sharded generations, and that the rule is that of the live generation.
func TestServerOfDigitsServesUnshardedGeneration(t *testing.T) {
	const digits = "8-f"
	records := gentest.Scattered(200)
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{Digits: parseDigits(t, digits)})
	f.listen(t)
	for k, s := range []format.Sharding{format.Unsharded, byLast, byFirst, format.Unsharded} {
		publishShards(t, f.dir, genID(k), s, parseDigits(t, digits), records)
		f.poll(t)
		for _, r := range records {
			id := r.Key().String()
			a := f.get(t, "/promotions/"+id)
			want := 200
			if s != format.Unsharded && s.DigitOf(r.Key()) < 8 {
				want = 421
				a.want(t, 421, foreignJSON(s, digits, id))
			}
			if a.code != want || a.header.Get("X-Promotions-Generation") != genID(k).String() {
				t.Errorf("%+v %s: %d %v", s, id, a.code, a.header)
			}
		}
	}
}

// TestForeignIDDoesNotAllocate checks both methods.
func TestForeignIDDoesNotAllocate(t *testing.T) {
	d := parseDigits(t, "0-7")
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{Digits: d})
	publishShards(t, f.dir, genID(0), byLast, d, gentest.Scattered(2000))
	f.poll(t)
	for _, method := range []string{"GET", "HEAD"} {
		var ctx fasthttp.RequestCtx
		var req fasthttp.Request
		req.SetRequestURI("/promotions/172ffc14-d229-4c93-b06b-f48b8c09551f")
		req.Header.SetMethod(method)
		ctx.Init(&req, nil, nil)
		ctx.Response.KeepBodyBuffer = true // like the server
		if n := testing.AllocsPerRun(100, func() {
			f.Handle(&ctx)
			if got := ctx.Response.StatusCode(); got != 421 {
				t.Fatalf("%s: %d", method, got)
			}
			ctx.Response.Reset()
		}); n != 0 {
			t.Errorf("%s: %v allocations", method, n)
		}
	}
}

// TestStatusNamesMissingShards lets the files of a generation arrive one by one.
func TestStatusNamesMissingShards(t *testing.T) {
	const digits = "3,c-f"
	for _, s := range []format.Sharding{byLast, byFirst} {
		d := parseDigits(t, digits)
		f := newFixture(t, httpd.Options{}, reader.StoreOptions{Digits: d})
		f.listen(t)
		publishShards(t, f.dir, genID(0), s, d, gentest.Scattered(300))
		paths := publishShards(t, f.dir, genID(1), s, d, gentest.Scattered(600))
		late := t.TempDir()
		for _, path := range paths[1:] {
			must(t, os.Rename(path, filepath.Join(late, filepath.Base(path))))
		}
		for n := 1; n <= len(paths); n++ {
			f.poll(t)
			live, missing := genID(0), []int{}
			for _, path := range paths[n:] {
				name, err := generation.ParseName(filepath.Base(path))
				must(t, err)
				missing = append(missing, name.Shard)
			}
			if len(missing) == 0 {
				live = genID(1)
			}
			var st web.Status
			must(t, json.Unmarshal([]byte(f.get(t, "/status").body), &st))
			if *st.Live != live.String() || *st.Newest != genID(1).String() || !slices.Equal(st.Missing, missing) ||
				st.Verified != (len(missing) == 0) || st.Digits != digits || *st.Shards != s.Shards || st.ShardBy != s.Rule.String() || st.Refused != 0 {
				t.Errorf("/status: %+v, want %s live and %v missing", st, live, missing)
			}
			if got := f.metric(t, "promoserve_generation_missing_shards"); got != fmt.Sprint(len(missing)) {
				t.Errorf("promoserve_generation_missing_shards is %s, want %d", got, len(missing))
			}
			if got := f.metric(t, "promoserve_newest_verified"); (got == "1") != (len(missing) == 0) {
				t.Errorf("promoserve_newest_verified is %s with %d missing", got, len(missing))
			}
			if n < len(paths) {
				must(t, os.Rename(filepath.Join(late, filepath.Base(paths[n])), paths[n]))
			}
		}
		for name, want := range map[string]string{
			`promoserve_digits_info{digits="` + digits + `"}`: "1",
			"promoserve_generation_shards":                    fmt.Sprint(s.Shards),
			"promoserve_generation_records":                   fmt.Sprint(f.store.Status().Live.Records),
		} {
			if got := f.metric(t, name); got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
	}
}

// TestNewestIsVerifiedWhilePinned pins the older of two generations on another node,
// which has all shards. The answers remain those of the pinned one, and the status
// tells when the pin can be moved.
func TestNewestIsVerifiedWhilePinned(t *testing.T) {
	d := parseDigits(t, "8-f")
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{Digits: d})
	f.listen(t)
	builder := &fixture{dir: t.TempDir()}
	for k, records := range [][]format.Record{gentest.Scattered(300), gentest.Scattered(600)} {
		publishShards(t, f.dir, genID(k), byLast, d, records)
		gentest.PublishSharded(t, builder.dir, genID(k), byLast, records)
	}
	pin := func(id generation.ID) {
		builder.pin(t, id)
		text, err := os.ReadFile(filepath.Join(builder.dir, generation.PinName))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(f.dir, generation.PinName), text, 0o644))
		f.poll(t)
	}
	pin(genID(0))
	f.await(t, reader.EventVerified)
	var st web.Status
	must(t, json.Unmarshal([]byte(f.get(t, "/status").body), &st))
	if *st.Live != genID(0).String() || *st.Newest != genID(1).String() || !st.Verified {
		t.Errorf("/status: %+v", st)
	}
	if got := f.metric(t, "promoserve_newest_verified"); got != "1" {
		t.Errorf("promoserve_newest_verified is %s, want 1", got)
	}
	pin(genID(1))
	id := byDigit(byLast, gentest.Scattered(600))[9][0]
	if a := f.get(t, "/promotions/"+id); a.code != 200 || a.header.Get("X-Promotions-Generation") != genID(1).String() {
		t.Errorf("%d %v", a.code, a.header)
	}
}
