package httpd_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"promostore/httpd"
	"promostore/reader"
)

type promotion struct {
	ID             string      `json:"id"`
	Price          json.Number `json:"price"`
	ExpirationDate string      `json:"expiration_date"`
}

type lookupAnswer struct {
	Promotions []promotion `json:"promotions"`
	NotFound   []string    `json:"not_found"`
}

func (f *fixture) lookup(t testing.TB, ids []string) lookupAnswer {
	t.Helper()
	query, err := json.Marshal(map[string][]string{"ids": ids})
	must(t, err)
	a := f.do(t, "POST", "/promotions/lookup", string(query))
	if a.code != 200 || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v %s", a.code, a.header, a.body)
	}
	if got := a.header.Get("X-Promotions-Generation"); got != genID(0).String() {
		t.Errorf("generation %q", got)
	}
	var answer lookupAnswer
	must(t, json.Unmarshal([]byte(a.body), &answer))
	return answer
}

func TestLookupKeepsOrder(t *testing.T) {
	f := serveMemory(t, rows)
	unknown := "172ffc14-d229-4c93-b06b-f48b8c095513"
	got := f.lookup(t, []string{rows[4].id, unknown, "{" + strings.ToLower(exampleID) + "}", "no \"id\" <&>\n\u2028ü", rows[4].id, ""})
	top := promotion{rows[4].id, json.Number(rows[4].price), "2018-10-28 02:30:00"}
	want := lookupAnswer{
		Promotions: []promotion{top, {exampleID, "9.68", "2022-06-04 06:01:20"}, top},
		NotFound:   []string{unknown, "no \"id\" <&>\n\u2028ü", ""},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for ids, want := range map[string]string{
		`[]`:                    `{"promotions":[],"not_found":[]}`,
		`["1"]`:                 `{"promotions":[],"not_found":["1"]}`,
		`["` + exampleID + `"]`: `{"promotions":[` + exampleJSON + `],"not_found":[]}`,
	} {
		f.do(t, "POST", "/promotions/lookup", `{"ids":`+ids+`}`).want(t, 200, want)
		f.do(t, "POST", "/promotions/lookup", "\ufeff"+`{"ids":`+ids+`}`).want(t, 200, want) // a byte-order mark
	}
}

// TestLookupMatchesEncodingJSON compares answers to random queries with those
// that encoding/json writes. The subtests share the pool of batches.
func TestLookupMatchesEncodingJSON(t *testing.T) {
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	publish(t, f.dir, genID(0), rows)
	f.poll(t)
	texts := []string{
		"", "1", "{", "no \"id\" <&>\n\u2028ü\\", "\x7f", strings.Repeat("x", 1000),
		"172ffc14-d229-4c93-b06b-f48b8c095513", "urn:uuid:172ffc14-d229-4c93-b06b-f48b8c095513",
	}
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 0))
			for range 300 {
				ids, promotions, missing := []string{}, []json.RawMessage{}, []string{}
				plain := r.IntN(2) == 0 // no ID that JSON escapes
				for range r.IntN(2) * r.IntN(1000) {
					row := rows[r.IntN(len(rows))]
					if text := texts[r.IntN(len(texts))]; r.IntN(2) == 0 && !(plain && strings.Contains(text, "<")) {
						ids, missing = append(ids, text), append(missing, text)
					} else {
						ids = append(ids, row.id)
						promotions = append(promotions, json.RawMessage(promotionJSON(row.id, row.price, strings.Replace(row.date, "T", " ", 1)[:19])))
					}
				}
				query, err := json.Marshal(map[string][]string{"ids": ids})
				must(t, err)
				want, err := json.Marshal(struct {
					Promotions []json.RawMessage `json:"promotions"`
					NotFound   []string          `json:"not_found"`
				}{promotions, missing})
				must(t, err)
				var ctx fasthttp.RequestCtx
				var req fasthttp.Request
				req.SetRequestURI("/promotions/lookup")
				req.Header.SetMethod("POST")
				req.SetBody(query)
				ctx.Init(&req, nil, nil)
				f.Handle(&ctx)
				if got := ctx.Response.Body(); string(got) != string(want)+"\n" {
					t.Fatalf("%.500s:\n%.500s, want\n%.500s", query, got, want)
				}
			}
		})
	}
}

// TestLookupOfMaxIDs sends the maximum number of IDs in the longest spelling.
// Known and unknown IDs alternate.
func TestLookupOfMaxIDs(t *testing.T) {
	var data []row
	var ids, known, unknown []string
	for i := range httpd.MaxLookupIDs {
		id := fmt.Sprintf("%08x-0000-4000-8000-000000000000", i*400_009)
		ids = append(ids, "urn:uuid:"+id)
		if i%2 == 0 {
			data = append(data, row{id, fmt.Sprintf("%d.50", i), "2022-06-04 06:01:20"})
			known = append(known, id)
		} else {
			unknown = append(unknown, "urn:uuid:"+id)
		}
	}
	f := serveMemory(t, data)
	got := f.lookup(t, ids)
	if !reflect.DeepEqual(got.NotFound, unknown) {
		t.Errorf("%d not found, want %d", len(got.NotFound), len(unknown))
	}
	if len(got.Promotions) != len(known) {
		t.Fatalf("%d found, want %d", len(got.Promotions), len(known))
	}
	for i, p := range got.Promotions {
		if p.ID != known[i] || string(p.Price) != data[i].price {
			t.Fatalf("promotion %d is %v", i, p)
		}
	}
	if got := f.metric(t, `promoserve_lookups_total{result="not_found"}`); got != fmt.Sprint(len(unknown)) {
		t.Errorf("%s IDs counted as not found, want %d", got, len(unknown))
	}
}

func TestLookupRejectsContentEncoding(t *testing.T) {
	f := serveMemory(t, rows)
	a := f.do(t, "POST", "/promotions/lookup", "\x1f\x8b\x08", "Content-Encoding", "gzip").
		want(t, 415, `{"error":"the body must not be encoded"}`)
	if got := a.header.Get("Accept-Encoding"); got != "identity" {
		t.Errorf("Accept-Encoding %q", got)
	}
	for _, coding := range []string{"identity", "Identity"} {
		f.do(t, "POST", "/promotions/lookup", `{"ids":[],"other":[1]}`, "Content-Encoding", coding).
			want(t, 200, `{"promotions":[],"not_found":[]}`)
	}
	if got := f.metric(t, `promoserve_http_requests_total{endpoint="lookup",code="415"}`); got != "1" {
		t.Errorf("%s requests counted, want 1", got)
	}
}

func TestLookupRejectsInvalidQueries(t *testing.T) {
	f := serveMemory(t, rows)
	for name, c := range map[string]struct {
		body, reason string
		code         int
	}{
		"empty":         {" ", "malformed JSON", 400},
		"not JSON":      {"ids", "malformed JSON", 400},
		"cut off":       {`{"ids":["1"`, "malformed JSON", 400},
		"trailing text": {`{"ids":["1"]} 2`, "malformed JSON", 400},
		"not an object": {`["1"]`, "an object is expected", 400},
		"numbers":       {`{"ids":[1]}`, "ids must be an array of strings", 400},
		"one id":        {`{"ids":"1"}`, "ids must be an array of strings", 400},
		"null id":       {`{"ids":[null,"x"]}`, "ids must be an array of strings", 400},
		"not UTF-8":     {"{\"ids\":[\"\xff\"]}", "the body is not UTF-8", 400},
		"no ids":        {`{}`, "no ids", 400},
		"null":          {`{"ids":null}`, "no ids", 400},
		"other member":  {`{"id":["1"]}`, "no ids", 400},
		"too many":      {`{"ids":["1"` + strings.Repeat(`,"1"`, httpd.MaxLookupIDs) + `]}`, "more than 10000 ids", 413},
	} {
		t.Run(name, func(t *testing.T) {
			a := f.do(t, "POST", "/promotions/lookup", c.body)
			var answer struct{ Error string }
			if err := json.Unmarshal([]byte(a.body), &answer); err != nil {
				t.Errorf("%s: %v", a.body, err)
			}
			if a.code != c.code || !strings.Contains(answer.Error, c.reason) || strings.Contains(answer.Error, "Go ") {
				t.Errorf("got %d %s, want %d %s", a.code, a.body, c.code, c.reason)
			}
		})
	}
}

// TestLookupPathTakesOneHexDigit checks the paths below /promotions/lookup.
func TestLookupPathTakesOneHexDigit(t *testing.T) {
	f := serveSocket(t, httpd.Options{})
	body := `{"ids":["` + exampleID + `"` + strings.Repeat(`,"x"`, 5000) + `]}` // longer than the first buffer
	want := f.do(t, "POST", "/promotions/lookup", body)
	for _, digit := range "0123456789abcdefABCDEF" {
		path := "/promotions/lookup/" + string(digit)
		f.do(t, "POST", path, body).want(t, 200, want.body)
		for _, method := range []string{"GET", "HEAD", "PUT"} {
			if a := f.do(t, method, path, ""); a.code != 405 || a.header.Get("Allow") != "POST" {
				t.Errorf("%s %s: %d %v", method, path, a.code, a.header)
			}
		}
	}
	for _, rest := range []string{"", "g", "G", "/", "@", "`", "00", "0/", "-1", "%00", "%ff"} {
		for _, method := range []string{"GET", "POST"} {
			f.do(t, method, "/promotions/lookup/"+rest, `{"ids":[]}`).want(t, 404, `{"error":"not found"}`)
		}
	}
	f.do(t, "POST", "/promotions/lookup/%61", body).want(t, 200, want.body)
}
