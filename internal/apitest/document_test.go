package apitest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"promostore/internal/apitest"
)

// Every object lists all of its fields, so an answer with another field fails the
// tests. Every operation names its servers, and every schema and response is used.
func TestDocumentIsStrict(t *testing.T) {
	doc, err := apitest.Load()
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if len(op.Tags) == 0 || op.OperationID == "" || len(item.Servers) != len(op.Tags) {
				t.Errorf("%s %s: tags %q, servers %d", method, path, op.Tags, len(item.Servers))
			}
		}
	}
	for name, schema := range doc.Components.Schemas {
		checkStrict(t, name, schema.Value)
	}
}

func checkStrict(t *testing.T, name string, s *openapi3.Schema) {
	t.Helper()
	if s.Type.Is("object") && s.AdditionalProperties.Schema == nil && (s.AdditionalProperties.Has == nil || *s.AdditionalProperties.Has) {
		t.Errorf("%s allows other fields", name)
	}
	for field, p := range s.Properties {
		checkStrict(t, name+"."+field, p.Value)
	}
	if s.Items != nil {
		checkStrict(t, name+"[]", s.Items.Value)
	}
}

// The checker finds each kind of deviation.
func TestCheckerFindsDeviations(t *testing.T) {
	c, err := apitest.New(apitest.Promoserve)
	if err != nil {
		t.Fatal(err)
	}
	const good = `{"id":"172FFC14-D229-4C93-B06B-F48B8C095512","price":9.68,"expiration_date":"2022-06-04 06:01:20"}`
	header := func(change ...string) http.Header {
		h := http.Header{"Content-Type": {"application/json"}, "Etag": {`"a"`}, "X-Promotions-Generation": {"20261122T103000123Z"}}
		for i := 0; i < len(change); i += 2 {
			if h.Set(change[i], change[i+1]); change[i+1] == "" {
				h.Del(change[i])
			}
		}
		return h
	}
	const path = "/promotions/172FFC14-D229-4C93-B06B-F48B8C095512"
	for _, x := range []struct {
		name   string
		answer apitest.Answer
		want   string // part of the error; empty: none
	}{
		{"good", apitest.Answer{Method: "GET", Path: path, Code: 200, Header: header(), Body: []byte(good)}, ""},
		{"head", apitest.Answer{Method: "HEAD", Path: path, Code: 200, Header: header()}, ""},
		{"unknown request", apitest.Answer{Code: 200, Header: header(), Body: []byte(good)}, ""},
		{"status", apitest.Answer{Method: "GET", Path: path, Code: 201, Header: header(), Body: []byte(good)}, "getPromotion has no status 201"},
		{"other field", apitest.Answer{Method: "GET", Path: path, Code: 200, Header: header(), Body: []byte(strings.Replace(good, "{", `{"x":1,`, 1))}, "x"},
		{"missing field", apitest.Answer{Method: "GET", Path: path, Code: 200, Header: header(), Body: []byte(strings.Replace(good, `"price":9.68,`, "", 1))}, "price"},
		{"wrong type", apitest.Answer{Method: "GET", Path: path, Code: 200, Header: header(), Body: []byte(strings.Replace(good, "9.68", `"9.68"`, 1))}, "price"},
		{"no JSON", apitest.Answer{Method: "GET", Path: path, Code: 200, Header: header(), Body: []byte("x")}, "invalid character"},
		{"other header", apitest.Answer{Method: "GET", Path: path, Code: 200, Header: header("Set-Cookie", "a"), Body: []byte(good)}, "undocumented header Set-Cookie"},
		{"missing header", apitest.Answer{Method: "GET", Path: path, Code: 200, Header: header("ETag", ""), Body: []byte(good)}, "the header ETag is missing"},
		{"wrong header", apitest.Answer{Method: "GET", Path: path, Code: 200, Header: header("X-Promotions-Generation", "5"), Body: []byte(good)}, "X-Promotions-Generation"},
		{"content type", apitest.Answer{Method: "GET", Path: path, Code: 200, Header: header("Content-Type", "text/html"), Body: []byte(good)}, `undocumented content type "text/html"`},
		{"request of another server", apitest.Answer{Method: "POST", Path: "/upload", Code: 201, Header: header(), Body: []byte(good)}, "no request has the status 201"},
		{"unknown path", apitest.Answer{Method: "GET", Path: "/upload", Code: 404, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"error":"not found"}`)}, ""},
		{"other method", apitest.Answer{Method: "PUT", Path: path, Code: 405, Header: http.Header{"Content-Type": {"application/json"}, "Allow": {"GET, HEAD"}}, Body: []byte(`{"error":"x"}`)}, ""},
		{"other method without Allow", apitest.Answer{Method: "PUT", Path: path, Code: 405, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"error":"x"}`)}, "Allow"},
	} {
		err := c.Check(x.answer)
		if (err == nil) != (x.want == "") || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: error %v, want %q", x.name, err, x.want)
		}
	}
}
