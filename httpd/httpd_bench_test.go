package httpd_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"promostore/httpd"
	"promostore/reader"
)

// BenchmarkGet compares GET over the loopback interface, of random present
// ids, with a handler that sends a constant answer of the same size with the
// same headers. They take turns of a quarter of a second, and "ratio" is the
// median of rate by rate.
func BenchmarkGet(b *testing.B) {
	const (
		records     = 100_000
		connections = 16
		turn        = 250 * time.Millisecond
	)
	table := make([]row, records)
	requests := make([][]byte, records)
	for i := range table {
		id := fmt.Sprintf("%08x-1234-4000-8000-%012x", uint32(i)*2654435761, i)
		table[i] = row{id, "60.683466", "2018-08-04 05:32:31 +0200 CEST"}
		requests[i] = []byte(request("/promotions/" + id))
	}
	f := newFixture(b, httpd.Options{}, reader.StoreOptions{Access: reader.AccessMmap})
	publish(b, f.dir, genID(0), table)
	f.poll(b)
	f.listen(b)

	a := f.get(b, "/promotions/"+table[0].id)
	body := []byte(a.body)
	tag, generation := []byte(a.header.Get("Etag")), []byte(a.header.Get("X-Promotions-Generation"))
	constant := httpd.NewFastServer(func(ctx *fasthttp.RequestCtx) {
		ctx.Response.Header.SetCanonical([]byte("X-Promotions-Generation"), generation)
		ctx.Response.Header.SetCanonical([]byte("ETag"), tag)
		ctx.Response.Header.SetCanonical([]byte("Content-Type"), []byte("application/json"))
		ctx.Response.SetBody(body)
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	go func() { _ = constant.Serve(ln) }()
	defer func() { must(b, constant.Shutdown()) }()

	ours := newLoad(b, f.ln.Addr().String(), connections, requests)
	floor := newLoad(b, ln.Addr().String(), connections, requests)
	if ours.answerLen != floor.answerLen {
		b.Fatalf("answers of %d bytes against %d", ours.answerLen, floor.answerLen)
	}
	ours.run(b, turn) // warm up
	floor.run(b, turn)
	var ratios, rates, floors []float64
	b.ResetTimer()
	for b.Loop() {
		x, y := ours.run(b, turn), floor.run(b, turn)
		rates, floors, ratios = append(rates, x), append(floors, y), append(ratios, x/y)
	}
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(median(rates), "req/s")
	b.ReportMetric(median(floors), "floor-req/s")
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// A load is clients that each send one request at a time over a connection of
// their own. They know how long an answer is, and so cost little.
type load struct {
	conns     []net.Conn
	requests  [][]byte
	answerLen int
	next      int
}

func newLoad(b *testing.B, addr string, connections int, requests [][]byte) *load {
	l := &load{requests: requests}
	for range connections {
		c, err := net.Dial("tcp", addr)
		must(b, err)
		b.Cleanup(func() { c.Close() })
		l.conns = append(l.conns, c)
	}
	_, err := l.conns[0].Write(requests[0])
	must(b, err)
	var raw bytes.Buffer
	r := bufio.NewReader(io.TeeReader(l.conns[0], &raw))
	res, err := http.ReadResponse(r, nil)
	must(b, err)
	_, err = io.Copy(io.Discard, res.Body)
	must(b, err)
	l.answerLen = raw.Len()
	return l
}

// run sends requests for some time and returns how many a second it was.
func (l *load) run(b *testing.B, d time.Duration) float64 {
	l.next += 7919
	start := time.Now()
	counts := make([]int, len(l.conns))
	var clients sync.WaitGroup
	for i, c := range l.conns {
		clients.Go(func() {
			buf := make([]byte, l.answerLen)
			for n := l.next * (i + 1); time.Since(start) < d; n += 613 {
				if _, err := c.Write(l.requests[n%len(l.requests)]); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(c, buf); err != nil || !bytes.HasPrefix(buf, []byte("HTTP/1.1 200 ")) {
					b.Errorf("%v: %.20q", err, buf)
					return
				}
				counts[i]++
			}
		})
	}
	clients.Wait()
	took := time.Since(start).Seconds()
	total := 0
	for _, n := range counts {
		total += n
	}
	return float64(total) / took
}

// BenchmarkHandler is what the handler costs without the network.
func BenchmarkHandler(b *testing.B) {
	f := newFixture(b, httpd.Options{}, reader.StoreOptions{Access: reader.AccessMmap})
	publish(b, f.dir, genID(0), rows)
	f.poll(b)
	for name, path := range map[string]string{"found": "/promotions/" + exampleID, "unknown": "/promotions/1"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				var ctx fasthttp.RequestCtx
				var req fasthttp.Request
				req.SetRequestURI(path)
				ctx.Init(&req, nil, nil)
				ctx.Response.KeepBodyBuffer = true
				for pb.Next() {
					f.Handle(&ctx)
					ctx.Response.Reset()
				}
			})
		})
	}
}

// BenchmarkLookup is a batch without the network.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			f := newFixture(b, httpd.Options{}, reader.StoreOptions{Access: reader.AccessMmap})
			publish(b, f.dir, genID(0), rows)
			f.poll(b)
			var body bytes.Buffer
			for i := range n {
				fmt.Fprintf(&body, `,"%s"`, rows[i%len(rows)].id)
			}
			var ctx fasthttp.RequestCtx
			var req fasthttp.Request
			req.SetRequestURI("/promotions/lookup")
			req.Header.SetMethod("POST")
			req.SetBodyString(`{"ids":[` + body.String()[1:] + `]}`)
			ctx.Init(&req, nil, nil)
			b.ReportAllocs()
			for b.Loop() {
				f.Handle(&ctx)
				ctx.Response.Reset()
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "ids/s")
		})
	}
}
