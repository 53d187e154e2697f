//go:build campaign

package deploy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"promostore/internal/campaign"
)

// A spelling is one way to write a part of a request.
type spelling struct {
	text string
	kind framing
}

// framing is the effect of a field on the end of a request.
type framing int

const (
	valid framing = iota
	wrong         // the request must be rejected
	none          // no effect, like a line that continues another field
)

// The spellings, in which %d is a length, %x a chunk size and %s an ID.
var (
	requestLines = []string{
		"POST /promotions/lookup HTTP/1.1", "POST /promotions/lookup HTTP/1.1", "GET /promotions/%s HTTP/1.1", "HEAD /promotions/%s HTTP/1.1", "DELETE /promotions/%s HTTP/1.1",
		"POST http://x/promotions/lookup HTTP/1.1", "POST http://evil.example/promotions/lookup HTTP/1.1", "GET http://x/promotions/%s HTTP/1.1",
		"POST /promotions/lookup HTTP/1.0", "POST /promotions/lookup HTTP/1.2", "POST /promotions/lookup HTTP/2.0", "POST /promotions/lookup HTTP/0.9",
		"POST /promotions/lookup", "GET /promotions/%s", "POST  /promotions/lookup HTTP/1.1", "POST\t/promotions/lookup HTTP/1.1",
		"POST /promotions/lookup HTTP/1.1 ", "POST /promotions/lookup\x00 HTTP/1.1", "post /promotions/lookup HTTP/1.1", "GET /promotions/%s#x HTTP/1.1",
		"OPTIONS * HTTP/1.1", "CONNECT x:80 HTTP/1.1", "\r\nPOST /promotions/lookup HTTP/1.1", "POST /promotions/lookup http/1.1", "PRI * HTTP/2.0",
	}
	lengths = []spelling{
		{"", none}, {"Content-Length: %d", valid}, {"Content-Length: %d", valid}, {"content-length:%d", valid}, {"Content-Length: \t%d \t", valid},
		{"Content-Length: 0%d", valid}, {"Content-Length: 0", none}, {"X-Content-Length: %d", none}, {"Content_Length: %d", none},
		{"Content-Length: %d\r\nContent-Length: %[1]d", wrong}, {"Content-Length: %d\r\nContent-Length: 0", wrong}, {"Content-Length: 0\r\nContent-Length: %d", wrong},
		{"Content-Length: %d, %[1]d", wrong}, {"Content-Length: +%d", wrong}, {"Content-Length: -%d", wrong}, {"Content-Length: 0x%x", wrong}, {"Content-Length: %d.0", wrong},
		{"Content-Length: %de0", wrong}, {"Content-Length:", wrong}, {"Content-Length : %d", wrong}, {" Content-Length: %d", none}, {"Content-Length\x00: %d", wrong},
		{"Content-Length: %d\x00", wrong}, {"Content-Length: \v%d", wrong}, {"Content-Length: 1844674407370955%d", wrong}, {"Content-Length: 18446744073709551616%d", wrong},
		{"X: y\rContent-Length: %d", wrong}, {"Content-Length: %d 0", wrong}, {"Content-Length:\r\n %d", wrong}, {"X: y\r\n\tContent-Length: %d", none}, {"Content-Length: %d;", wrong},
	}
	codings = []spelling{
		{"", none}, {"Transfer-Encoding: chunked", valid}, {"Transfer-Encoding: chunked", valid}, {"transfer-encoding:CHUNKED", valid}, {"Transfer-Encoding:\tchunked\t", valid},
		{"Transfer_Encoding: chunked", none}, {"X-Transfer-Encoding: chunked", none}, {"Transfer-Encoding-: chunked", none},
		{"Transfer-Encoding : chunked", wrong}, {" Transfer-Encoding: chunked", none}, {"Transfer-Encoding: xchunked", wrong}, {"Transfer-Encoding: chunkedx", wrong},
		{"Transfer-Encoding: \"chunked\"", wrong}, {"Transfer-Encoding: 'chunked'", wrong}, {"Transfer-Encoding: \vchunked", wrong}, {"Transfer-Encoding: \fchunked", wrong},
		{"Transfer-Encoding: chunked\x00", wrong}, {"Transfer-Encoding\x00: chunked", wrong}, {"X: y\rTransfer-Encoding: chunked", wrong}, {"Transfer-Encoding:\r\n chunked", valid},
		{"Transfer-Encoding\r\n: chunked", wrong}, {"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", wrong}, {"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", wrong},
		{"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", wrong}, {"Transfer-Encoding: chunked, chunked", wrong}, {"Transfer-Encoding: identity, chunked", wrong},
		{"Transfer-Encoding: chunked, identity", wrong}, {"Transfer-Encoding: gzip, chunked", wrong}, {"Transfer-Encoding: chunked;q=1", wrong}, {"Transfer-Encoding: identity", wrong},
		{"Transfer-Encoding: ch\u00fcnked", wrong}, {"Transfer-Encoding:", wrong}, {"X: y\r\n\tTransfer-Encoding: chunked", none},
	}
	chunkSizes = []spelling{
		{"%x\r\n", valid}, {"%x\r\n", valid}, {"%X\r\n", valid}, {"00000%x\r\n", valid}, {"%x;x=y\r\n", valid}, {"%x;x=\"y\"\r\n", valid}, {"%x;x\r\n", valid},
		{"%x\n", wrong}, {"%x\r", wrong}, {"%x;x\n", wrong}, {"%x;x\ny\r\n", wrong}, {"%x;\rx\r\n", wrong}, {"0x%x\r\n", wrong}, {"+%x\r\n", wrong}, {"-%x\r\n", wrong},
		{"%x.\r\n", wrong}, {"1%016x\r\n", wrong}, {"ffffffffffffff%x\r\n", wrong}, {"%x\x00\r\n", wrong}, {"\r\n%x\r\n", wrong}, {"%xg\r\n", wrong},
	}
	otherFields = []string{
		"", "", "", "Host: evil.example\r\n", "Connection: Content-Length\r\n", "Connection: Transfer-Encoding\r\n", "Connection: close, Host\r\n", "Expect: 100-continue\r\n",
		"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n", "TE: trailers\r\n", "Trailer: Content-Length\r\n", "X(: y\r\n", "X\r\n", ": y\r\n",
		"X: \x00\r\n", "X-HTTP-Method-Override: DELETE\r\n", "X-Original-URL: /status\r\n", "Keep-Alive: timeout=1000\r\n", "Proxy-Connection: keep-alive\r\n",
	}
	lineEnds = []string{"\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", "\n\r", "\r\n "}
)

const noIDs = `{"ids":[]}`

// A smuggle is a request whose end is doubtful, with another request inside that
// must not be answered.
type smuggle struct {
	text    string
	refused bool // the inner request must not be answered directly either
}

// mostly returns one of the first three of list in three of four cases, so that
// a request has few faults.
func mostly[T any](random *rand.Rand, list []T) T {
	if random.IntN(4) > 0 {
		list = list[:3]
	}
	return campaign.Pick(random, list)
}

// newSmuggle returns a request for id with requests for the promotions inner and
// outer.
func newSmuggle(random *rand.Rand, id, inner, outer string) smuggle {
	length, coding, size := mostly(random, lengths), mostly(random, codings), mostly(random, chunkSizes)
	hidden := fmt.Sprintf("GET /promotions/%s HTTP/1.1\r\nHost: x\r\n\r\n", inner)
	chunk := func(text string) string { return fmt.Sprintf(size.text, len(text)) + text + "\r\n" }
	var s smuggle
	var body string
	announced := 0
	switch random.IntN(4) {
	case 0: // the inner request follows the last chunk
		body = chunk(noIDs) + "0\r\n\r\n" + hidden
		announced = len(body)
		s.refused = length.kind != none || coding.kind == wrong || coding.kind == valid && size.kind == wrong
	case 1: // the inner request is a chunk
		body = chunk(hidden) + "0\r\n\r\n"
		announced = strings.Index(body, "GET ")
		s.refused = coding.kind != none
	case 2: // the inner request is the body
		body = hidden
		announced = len(body)
		s.refused = coding.kind != none || length.kind != none
	case 3: // the inner request follows the name of a trailer field
		body = chunk(noIDs) + "0\r\nX: y" + campaign.Pick(random, lineEnds) + hidden
		announced = len(body)
		s.refused = length.kind != none || coding.kind != none
	}
	fill := func(format string, arg any) string {
		if !strings.Contains(format, "%") {
			return format
		}
		return fmt.Sprintf(format, arg)
	}
	fields := []string{fill(length.text, announced), coding.text}
	random.Shuffle(2, func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	head := fill(mostly(random, requestLines), id) + "\r\nHost: x\r\n" + mostly(random, otherFields)
	for _, f := range fields {
		if f != "" {
			head += f + "\r\n"
		}
	}
	end := mostly(random, lineEnds)
	if end == "\r\n " {
		s.refused = false // the field continues the one before
	}
	if random.IntN(2) == 0 {
		head = strings.ReplaceAll(head, "\r\n", end)
	} else if at := strings.LastIndex(head[:len(head)-2], "\r\n"); at > 0 {
		head = head[:at] + end + head[at+2:]
	}
	s.text = head + "\r\n" + body + fmt.Sprintf("GET /promotions/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", outer)
	return s
}

// TestCampaignSmuggling sends requests whose end is doubtful to promoserve,
// directly and through the proxies. After each, another client must get its own
// answer.
func TestCampaignSmuggling(t *testing.T) {
	amount := campaign.Amount(t, 8_800)
	rows := modelOf(t, 0, minRows)
	ways := campaignProxies()
	ways["direct"] = proxy{}
	for name, p := range ways {
		t.Run(name, func(t *testing.T) {
			random := campaign.Random(t)
			dir := t.TempDir()
			build(t, dir, 0, minRows)
			s := serve(t, dir, "--max-conns-per-ip", "0")
			relay := newRelay(t, s.address())
			url := "http://" + relay.address
			if name != "direct" {
				needs(t, p.program)
				url = p.start(t, []*server{{url: url}})
			}
			waitFor(t, "the server answers", func() bool { a, err := get(url + "/promotions/" + rows.ids[0]); return err == nil && a.status == 200 })
			payloads := make([]smuggle, amount)
			for i := range payloads {
				payloads[i] = newSmuggle(random, rows.ids[4*i%minRows], rows.ids[(4*i+1)%minRows], rows.ids[(4*i+2)%minRows])
				if p.shards {
					payloads[i].text = strings.ReplaceAll(payloads[i].text, "/promotions/lookup", "/promotions/lookup/0")
				}
			}
			inParallel(t, amount, func(i int) {
				payload := payloads[i]
				got, err := converse(strings.TrimPrefix(url, "http://"), []byte(payload.text))
				if err != nil {
					t.Errorf("payload %d: %v: %q", i, err, payload.text)
				}
				if name == "direct" && payload.refused && bytes.Contains(got, []byte(`"id":"`+rows.ids[(4*i+1)%minRows])) {
					t.Errorf("payload %d: the inner request of %q is answered: %q", i, payload.text, got)
				}
				victim := (4*i + 3) % minRows
				if a, err := get(url + "/promotions/" + rows.ids[victim]); err != nil || a.status != 200 || a.body != rows.json[victim]+"\n" {
					t.Errorf("payload %d: %q: another client gets %d %s, %v", i, payload.text, a.status, a.body, err)
				}
			})
			sum, counted := relay.parse(), promotionRequests(t, s)
			if name == "direct" {
				sum.problems = nil // net/http is more tolerant than promoserve
			} else if counted > sum.requests || counted+sum.rejected < sum.complete {
				t.Errorf("the proxy sent %d requests on, %d of them complete; promoserve counted %d and rejected %d", sum.requests, sum.complete, counted, sum.rejected)
			}
			for _, problem := range sum.problems {
				t.Error(problem)
			}
			t.Logf("%d payloads; %d requests for promotions sent on, %d complete, %d counted, %d answered, %d connections rejected",
				amount, sum.requests, sum.complete, counted, sum.answers, sum.rejected)
			wantHealthy(t, s)
		})
	}
}

// wantHealthy checks that a server is alive, and has logged no panic and no error.
func wantHealthy(t *testing.T, s *server) {
	t.Helper()
	if a, err := get(s.url + "/healthz"); err != nil || a.status != 200 {
		t.Errorf("/healthz: %d %s, %v", a.status, a.body, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.log {
		if strings.Contains(line, "panic") || strings.Contains(line, "goroutine ") || strings.Contains(line, `"level":"ERROR"`) {
			t.Error(line)
		}
	}
}
