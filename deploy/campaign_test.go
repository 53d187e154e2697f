//go:build campaign

package deploy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"promostore/internal/synth"
)

// A model holds the rows of the data set of a seed.
type model struct {
	ids  []string
	json []string // answers, without the line end
}

// modelOf returns the first rows of the data set of a seed.
func modelOf(t testing.TB, seed uint64, rows int) *model {
	t.Helper()
	var csv bytes.Buffer
	if _, err := (synth.DataSet{Keys: keys(seed), Rows: int64(rows)}).WriteTo(&csv); err != nil {
		t.Fatal(err)
	}
	m := &model{}
	for line := range strings.Lines(csv.String()) {
		f := strings.Split(line, ",")
		m.ids = append(m.ids, f[0])
		m.json = append(m.json, fmt.Sprintf(`{"id":"%s","price":%s,"expiration_date":"%s"}`, f[0], f[1], f[2][:19]))
	}
	return m
}

// campaignProxies returns the proxies, for one group of servers and for several.
func campaignProxies() map[string]proxy {
	all := maps.Clone(proxies)
	for name, p := range proxies {
		all[name+"-shards"] = p.sharded()
	}
	return all
}

// converse sends bytes on a new connection and returns everything that it
// receives. It closes its sending side after a pause of the server.
func converse(address string, sent []byte) ([]byte, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	go func() { _, _ = conn.Write(sent) }() // the server may close before it has read everything
	var got bytes.Buffer
	_ = conn.SetReadDeadline(time.Now().Add(150 * time.Millisecond))
	if _, err := io.Copy(&got, conn); err == nil {
		return got.Bytes(), nil
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	_, err = io.Copy(&got, conn)
	if err != nil && strings.Contains(err.Error(), "reset") {
		err = nil
	}
	return got.Bytes(), err
}

// A relay passes connections on to a server and records them.
type relay struct {
	address string

	mu    sync.Mutex // guards the fields below and their content
	conns []*recording
}

// A recording is the content of one connection.
type recording struct{ requests, answers []byte }

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	r := &relay{address: ln.Addr().String()}
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			e := &recording{}
			r.mu.Lock()
			r.conns = append(r.conns, e)
			r.mu.Unlock()
			go func() {
				defer client.Close()
				defer server.Close()
				done := make(chan bool)
				go func() { r.pass(server, client, &e.requests); close(done) }()
				r.pass(client, server, &e.answers)
				<-done
			}()
		}
	}()
	return r
}

// pass copies from src to dst, and closes the sending side of dst at the end.
func (r *relay) pass(dst, src net.Conn, record *[]byte) {
	b := make([]byte, 32<<10)
	for {
		n, err := src.Read(b)
		r.mu.Lock()
		*record = append(*record, b[:n]...)
		r.mu.Unlock()
		if _, werr := dst.Write(b[:n]); err != nil || werr != nil {
			_ = dst.(*net.TCPConn).CloseWrite()
			return
		}
	}
}

// A traffic is the content of connections according to net/http.
type traffic struct {
	requests int // for promotions, whose bodies may be incomplete
	complete int // of them
	answers  int // to requests for promotions
	rejected int // answers that end a connection because its request is malformed
	problems []string
}

// parse parses all connections. Every answer must be that to the request in the
// same place of its connection.
func (r *relay) parse() (sum traffic) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.conns {
		if problem := sum.add(e); problem != "" {
			sum.problems = append(sum.problems, fmt.Sprintf("%s\nrequests: %q\nanswers: %q", problem, e.requests, e.answers))
		}
	}
	return sum
}

func (sum *traffic) add(e *recording) (problem string) {
	var requests []*http.Request
	for sent := bufio.NewReader(bytes.NewReader(e.requests)); ; {
		req, err := http.ReadRequest(sent)
		if err != nil {
			break
		}
		_, err = io.Copy(io.Discard, req.Body)
		if strings.HasPrefix(req.URL.Path, "/promotions/") {
			sum.requests++
			if err == nil {
				sum.complete++
			}
		}
		requests = append(requests, req)
		if err != nil {
			break
		}
	}
	received := bufio.NewReader(bytes.NewReader(e.answers))
	for i := 0; ; i++ {
		var req *http.Request
		if i < len(requests) {
			req = requests[i]
		}
		res, err := http.ReadResponse(received, req)
		if err != nil {
			return ""
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return "" // the proxy closed the connection
		}
		if res.StatusCode == http.StatusContinue {
			i--
			continue
		}
		if res.StatusCode >= 500 {
			return fmt.Sprintf("answer %d has status %d", i, res.StatusCode)
		}
		malformed := res.Close && res.StatusCode >= 400
		if req == nil && !malformed {
			return fmt.Sprintf("%d answers to %d requests", i+1, len(requests))
		}
		if malformed {
			sum.rejected++
		}
		if req == nil || !strings.HasPrefix(req.URL.Path, "/promotions/") {
			continue
		}
		sum.answers++
		id, _, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/promotions/"), "#")
		if bytes.HasPrefix(body, []byte(`{"id":"`)) && !bytes.HasPrefix(body, []byte(`{"id":"`+id+`"`)) {
			return fmt.Sprintf("answer %d to %s is %s", i, req.URL.Path, body)
		}
	}
}

// promotionRequests returns the number of requests for promotions that the server
// has counted.
func promotionRequests(t *testing.T, s *server) (n int) {
	t.Helper()
	for name, value := range metrics(t, s) {
		if strings.HasPrefix(name, `promoserve_http_requests_total{endpoint="promotion"`) || strings.HasPrefix(name, `promoserve_http_requests_total{endpoint="lookup"`) {
			n += int(value)
		}
	}
	return n
}
