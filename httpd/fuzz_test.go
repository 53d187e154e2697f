package httpd_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"

	"promostore/format"
	"promostore/httpd"
	"promostore/reader"
)

// serveFuzz returns a server of these digits for a fuzz target, and the rows of its
// generation by ID.
func serveFuzz(f *testing.F, s format.Sharding, digits string) (srv *httpd.Server, byID map[uuid.UUID]row) {
	dir := f.TempDir()
	d := parseDigits(f, digits)
	publishRows(f, dir, genID(0), s, d, rows)
	store := reader.NewStore(dir, reader.StoreOptions{Digits: d})
	must(f, store.Poll(f.Context()))
	f.Cleanup(func() { store.Close() })
	srv = httpd.New(httpd.Options{Store: store, JSON: format.DefaultJSONOptions, Logger: slog.New(slog.NewTextHandler(panicWriter{}, nil))})
	byID = map[uuid.UUID]row{}
	for _, r := range rows {
		byID[uuid.MustParse(r.id)] = r
	}
	return srv, byID
}

// A panicWriter is a log that must remain empty. The server logs the panics
// that it recovers from.
type panicWriter struct{}

func (panicWriter) Write(p []byte) (int, error) { panic(string(p)) }

// oracle returns the ID that a path requests, according to net/url and
// google/uuid.
func oracle(requestURI string) (id uuid.UUID, promotion, valid bool) {
	u, err := url.ParseRequestURI(requestURI)
	if err != nil || u.Host != "" || u.Opaque != "" || strings.Contains(u.Path, "//") || strings.Contains(u.Path, "/.") || strings.Contains(requestURI, "#") {
		return id, false, false // servers may differ about these; HTTP has no fragments
	}
	text, promotion := strings.CutPrefix(u.Path, "/promotions/")
	if !promotion || text == "lookup" || strings.HasPrefix(text, "lookup/") {
		return id, false, false
	}
	id, err = uuid.Parse(text)
	// uuid.Parse accepts any two characters as braces.
	if err != nil || len(text) == 38 && (text[0] != '{' || text[37] != '}') {
		return id, true, false
	}
	return id, true, true
}

// FuzzHTTP calls the handlers of a server of all digits and of one of some digits
// with any path and If-None-Match, and compares the answers with the oracle.
func FuzzHTTP(f *testing.F) {
	whole, byID := serveFuzz(f, format.Unsharded, "0-f")
	part, _ := serveFuzz(f, byLast, "0-7")
	for _, path := range []string{
		"/promotions/" + exampleID, "/promotions/{" + exampleID + "}", "/promotions/%7b" + exampleID + "%7d",
		"/promotions/urn:uuid:" + exampleID, "/promotions/" + strings.ReplaceAll(exampleID, "-", ""),
		"/promotions/lookup", "/promotions/1?x", "/promotions/%00", "/a/../promotions/" + exampleID,
		"/promotions/ffffffff-ffff-ffff-ffff-fffffffffffe", "/readyz", "/prometheus", "http://h/promotions/1", "//", "*", "/%",
		"/promotions/lookup/0", "/promotions/lookup/", "/promotions/lookup/" + exampleID,
		"/promotions/d018ef0b-dbd9-48f1-ac1a-eb4d90e57118", "/promotions/d018ef0bdbd948f1ac1aeb4d90e57117", "/promotions/URN:UUID:d018ef0b-dbd9-48f1-ac1a-eb4d90e5711B",
	} {
		f.Add(path, "*")
	}
	f.Fuzz(func(t *testing.T, path, match string) {
		checkAnswer(t, whole, path, match, byID, false)
		checkAnswer(t, part, path, match, byID, true)
	})
}

// checkAnswer compares an answer with the oracle. If half is set, srv
// serves only ids whose last digit is 0 to 7.
func checkAnswer(t *testing.T, srv *httpd.Server, path, match string, byID map[uuid.UUID]row, half bool) {
	var ctx fasthttp.RequestCtx
	var req fasthttp.Request
	req.SetRequestURI(path)
	req.Header.Set("If-None-Match", match)
	ctx.Init(&req, nil, nil)
	srv.Handle(&ctx)
	code, body := ctx.Response.StatusCode(), string(ctx.Response.Body())
	if code != 304 && !bytes.HasPrefix(ctx.Response.Header.ContentType(), []byte("text/plain;")) && !json.Valid([]byte(body)) {
		t.Errorf("%d %q: the body is not JSON", code, body)
	}
	if path == "" || path[0] != '/' {
		return // fasthttp never passes such a path
	}
	id, promotion, valid := oracle(path)
	r, known := byID[id]
	switch foreign := half && id[15]&15 > 7; {
	case !promotion:
		if code == 421 {
			t.Errorf("%q: %d %s", path, code, body)
		}
	case valid && foreign:
		if code != 421 || !strings.HasSuffix(body, `"digits":"0-7"}`+"\n") {
			t.Errorf("%q: %d %s, want 421", path, code, body)
		}
	case !valid || !known:
		if code != 404 || body != unknownJSON+"\n" {
			t.Errorf("%q: %d %s, want not found", path, code, body)
		}
	case code == 304:
		if match == "" {
			t.Error("304 without If-None-Match")
		}
	case code != 200 || !strings.HasPrefix(body, `{"id":"`+r.id+`","price":`+r.price+`,"expiration_date":"`):
		t.Errorf("%q: %d %s, want %v", path, code, body, r)
	}
}

// FuzzLookupQuery parses any bytes as a query for many IDs. A query that
// appendIDs accepts must mean the same to encoding/json.
func FuzzLookupQuery(f *testing.F) {
	for _, body := range []string{
		`{"ids":["` + exampleID + `","{` + exampleID + `}",""]}`, " {\n\t\"ids\" : [ \"1\" ,\r\"2\" ] } ",
		`{"ids":[]}`, `{"ids":[ ]}`, `{"ids":["1",]}`, `{"ids":["1"]}}`, `{"ids":["1"],"ids":["2"]}`, `{"IDS":["1"]}`,
		`{"ids":null}`, `{"ids":[null]}`, `{"ids":["\u0031\n"]}`, `{"ids":["ü"]}`, `{"ids":["12345678ü"]}`, "{\"ids\":[\"1234567\xff\"]}",
		"{\"ids\":[\"12345678\n\"]}", `{"ids":["<&>\u007f"]}`, `{"ids":["1""2"]}`, `{"ids":["1"`, `{"ids":["1`, `{"ids":"1"}`, `{}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, plain, plainErr := plainLookup(body)
		want, err := httpd.ParseLookup(body)
		if plain && (!errors.Is(err, plainErr) || err == nil && !slices.Equal(got, want)) {
			t.Errorf("%q: %q, %v, want %q, %v", body, got, plainErr, want, err)
		}
		if err == nil && !slices.Equal(want, decodeAll(body)) {
			t.Errorf("%q: %q, want %q", body, want, decodeAll(body))
		}
		// A valid query becomes a plain one when it is encoded again.
		query, err2 := json.Marshal(map[string][]string{"ids": want})
		must(t, err2)
		if err == nil && !bytes.ContainsRune(query, '\\') && isASCII(query) {
			if again, plain, _ := plainLookup(query); !plain || !slices.Equal(again, want) {
				t.Errorf("%s: %q, %v", query, again, plain)
			}
		}
	})
}

// plainLookup returns the IDs of body as strings, if it is a plain query.
func plainLookup(body []byte) (ids []string, plain bool, err error) {
	texts, plain, err := httpd.AppendIDs(nil, body)
	for _, text := range texts {
		ids = append(ids, string(text))
	}
	return ids, plain, err
}

// decodeAll returns the IDs of a valid query according to encoding/json.
func decodeAll(body []byte) []string {
	var query struct{ IDs []string }
	if json.Unmarshal(body, &query) != nil {
		return nil
	}
	return query.IDs
}

func isASCII(text []byte) bool {
	return !bytes.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
}

// A script is a connection whose client sent everything at once.
type script struct {
	net.Conn // nil: any other method panics
	sent     *bytes.Reader
	got      bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)       { return s.sent.Read(p) }
func (s *script) Write(p []byte) (int, error)      { return s.got.Write(p) }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// FuzzConnection sends any bytes on a connection. The server must send a
// sequence of complete responses.
func FuzzConnection(f *testing.F) {
	srv, _ := serveFuzz(f, byLast, "0-7")
	get := request("/promotions/" + exampleID)
	f.Add([]byte(get + get))
	f.Add([]byte("POST /promotions/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{\"ids\":[]}" + get))
	f.Add([]byte("POST /promotions/lookup HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"i\r\n7\r\nds\":[]}\r\n0\r\n\r\n"))
	f.Add([]byte("POST /promotions/lookup HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n{\"ids\":[]}"))
	f.Add([]byte("POST /promotions/lookup/F HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{\"ids\":[]}" + request("/promotions/"+rows[4].id) + get))
	f.Add([]byte("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"))
	f.Add([]byte("GET //promotions/1 HTTP/1.1\nHost: x\n\n\x16\x03"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		if bytes.Contains(bytes.ToUpper(sent), []byte("HEAD")) {
			return // an answer to HEAD cannot be parsed without its request
		}
		c := &script{sent: bytes.NewReader(sent)}
		_ = srv.ServeConn(c) // the client causes its errors
		for r := bufio.NewReader(&c.got); ; {
			if _, err := r.Peek(1); err != nil {
				break
			}
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				t.Fatal(err)
			}
		}
	})
}
