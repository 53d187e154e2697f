package httpd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"promostore/format"
	"promostore/httpd"
	"promostore/internal/gentest"
	"promostore/internal/synth"
	"promostore/reader"
)

// Client and server share the processors, so a rate over the loopback interface
// includes the cost of the client.
const (
	benchConns = 16
	benchRound = 100 * time.Millisecond
	missesIn   = 100 // one ID in this many is unknown
	batchLen   = 1000
)

// benchSizes are numbers of records. The first data set fits into the caches of
// a processor, the second does not.
var benchSizes = []int{100_000, 10_000_000}

// BenchmarkGet compares GET of random IDs over the loopback interface with a
// handler that sends a constant answer of the same size and with the same
// headers. Rounds of both alternate; "ratio" is the median of the ratios.
func BenchmarkGet(b *testing.B) {
	for _, records := range benchSizes {
		b.Run(fmt.Sprintf("records=%d", records), func(b *testing.B) {
			f := newFixture(b, httpd.Options{}, reader.StoreOptions{Access: reader.AccessMmap})
			publishBench(b, f.dir, records)
			f.poll(b)
			f.listen(b)
			a := f.get(b, "/promotions/"+benchKeys.At(0).String())
			constant := serveConstant(b, a)

			ours := newLoad(b, f.ln.Addr(), func() ask { return askOne(records, 404) })
			floor := newLoad(b, constant, func() ask { return askOne(records, 200) })
			ours.run(b, benchRound) // warm up
			floor.run(b, benchRound)
			var ratios, rates, floors []float64
			b.ResetTimer()
			for b.Loop() {
				x, y := ours.run(b, benchRound), floor.run(b, benchRound)
				rates, floors, ratios = append(rates, x), append(floors, y), append(ratios, x/y)
			}
			b.ReportMetric(median(ratios), "ratio")
			b.ReportMetric(median(rates), "req/s")
			b.ReportMetric(median(floors), "floor-req/s")
		})
	}
}

// BenchmarkPost compares POST /promotions/lookup of 1,000 random IDs with a
// handler that reads the body and sends a constant answer of the same size.
func BenchmarkPost(b *testing.B) {
	for _, records := range benchSizes {
		b.Run(fmt.Sprintf("records=%d", records), func(b *testing.B) {
			f := newFixture(b, httpd.Options{}, reader.StoreOptions{Access: reader.AccessMmap})
			publishBench(b, f.dir, records)
			f.poll(b)
			f.listen(b)
			ids := make([]string, batchLen)
			for i := range ids {
				ids[i] = benchKeys.At(uint64(i)).String()
			}
			if got := f.lookup(b, ids); len(got.Promotions) != batchLen {
				b.Fatalf("%d promotions", len(got.Promotions))
			}
			query, err := json.Marshal(map[string][]string{"ids": ids})
			must(b, err)
			constant := serveConstant(b, f.do(b, "POST", "/promotions/lookup", string(query)))

			ours := newLoad(b, f.ln.Addr(), func() ask { return askMany(records) })
			floor := newLoad(b, constant, func() ask { return askMany(records) })
			ours.run(b, benchRound)
			floor.run(b, benchRound)
			var rates, floors []float64
			b.ResetTimer()
			for b.Loop() {
				rates = append(rates, ours.run(b, benchRound)*batchLen)
				floors = append(floors, floor.run(b, benchRound)*batchLen)
			}
			b.ReportMetric(median(rates), "ids/s")
			b.ReportMetric(median(floors), "floor-ids/s")
		})
	}
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}

// benchKeys generates the IDs of the benchmarks. A data set of n records holds
// the first n of them.
var benchKeys = synth.Keys{}

// publishBench writes a generation of num records to dir, which differ only in
// their IDs.
func publishBench(b *testing.B, dir string, num int) {
	price, err := format.ParsePrice([]byte("60.683466"))
	must(b, err)
	seconds, sep, rest, err := format.ParseDate([]byte("2018-08-04 05:32:31 +0200 CEST"))
	must(b, err)
	style, err := format.ParseTimestampStyle(sep, rest)
	must(b, err)
	keys := make([]format.Key, num)
	for i := range keys {
		keys[i] = benchKeys.At(uint64(i))
	}
	slices.SortFunc(keys, format.Key.Compare)
	records := make([]format.Record, num)
	for i, key := range keys {
		records[i] = format.MakeRecord(key, false, price, seconds, 0)
	}
	gentest.Publish(b, dir, genID(0), records, style)
}

// serveConstant starts a server that answers every request with a, and returns
// its address. The server uses the defaults of fasthttp: it has no timeouts, so
// it sets no deadlines, and it does not wrap the listener. The handler sets the
// three headers of a that fasthttp does not set, and the body, without copying
// it.
//
// The remaining cost is that of fasthttp and the kernel for any request. fasthttp
// reads the time, parses the request, and writes the answer with its Date. It
// takes no lock for a request; see the package comment.
func serveConstant(b *testing.B, a answer) net.Addr {
	body := []byte(a.body)
	tag, tagName := []byte(a.header.Get("Etag")), []byte("ETag")
	generation, generationName := []byte(a.header.Get("X-Promotions-Generation")), []byte("X-Promotions-Generation")
	contentType := []byte("application/json")
	server := &fasthttp.Server{
		NoDefaultServerHeader: true,
		Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.Response.Header.SetCanonical(generationName, generation)
			if len(tag) > 0 {
				ctx.Response.Header.SetCanonical(tagName, tag)
			}
			ctx.Response.Header.SetContentTypeBytes(contentType)
			ctx.Response.SetBodyRaw(body)
		},
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	go func() { _ = server.Serve(ln) }()
	b.Cleanup(func() {
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		_ = server.ShutdownWithContext(ctx) // closes the listener; the clients close the connections
	})
	return ln.Addr()
}

// An ask returns the next request of a client, which is valid until the next
// call, and the status of its answer.
type ask func() (request []byte, status int)

// randomKey returns a random ID of the data set, or now and then an unknown one.
func randomKey(r *rand.Rand, records int) (key format.Key, found bool) {
	i := r.Uint64N(uint64(records))
	found = r.Uint64N(missesIn) > 0
	if !found {
		i += uint64(records)
	}
	return benchKeys.At(i), found
}

// askOne requests one ID at a time. The answer to an unknown one has the status
// missing.
func askOne(records, missing int) ask {
	r := rand.New(rand.NewPCG(rand.Uint64(), 0))
	text := []byte(request("/promotions/" + exampleID))
	id := bytes.Index(text, []byte(exampleID))
	return func() ([]byte, int) {
		key, found := randomKey(r, records)
		key.AppendText(text[:id], false)
		if !found {
			return text, missing
		}
		return text, 200
	}
}

// askMany requests batchLen IDs at a time.
func askMany(records int) ask {
	r := rand.New(rand.NewPCG(rand.Uint64(), 0))
	bodyLen := len(`{"ids":[]}`) + batchLen*(format.TextLen+len(`"",`)) - len(",")
	head := fmt.Appendf(nil, "POST /promotions/lookup HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"+`{"ids":[`, bodyLen)
	text := head
	return func() ([]byte, int) {
		text = text[:len(head)]
		for range batchLen {
			key, _ := randomKey(r, records)
			text = append(key.AppendText(append(text, '"'), false), `",`...)
		}
		text = append(text[:len(text)-1], "]}"...)
		return text, 200
	}
}

// A load is a group of clients. Each sends one request at a time on its own
// connection, and parses as little of an answer as possible, to cost little.
type load struct {
	conns []net.Conn
	asks  []ask
}

func newLoad(b *testing.B, addr net.Addr, newAsk func() ask) *load {
	l := &load{}
	for range benchConns {
		c, err := net.Dial("tcp", addr.String())
		must(b, err)
		b.Cleanup(func() { c.Close() })
		l.conns = append(l.conns, c)
		l.asks = append(l.asks, newAsk())
	}
	return l
}

// run sends requests for the duration d and returns their rate per second.
func (l *load) run(b *testing.B, d time.Duration) float64 {
	start := time.Now()
	counts := make([]int, len(l.conns))
	var clients sync.WaitGroup
	for i, c := range l.conns {
		clients.Go(func() {
			buf := make([]byte, 256<<10)
			for time.Since(start) < d {
				text, status := l.asks[i]()
				if _, err := c.Write(text); err != nil {
					b.Error(err)
					return
				}
				if err := readAnswer(c, buf, status); err != nil {
					b.Error(err)
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

// readAnswer reads one answer with this status, which must be the last one on
// the connection. buf must hold the headers.
func readAnswer(c net.Conn, buf []byte, status int) error {
	n, err := c.Read(buf)
	if err != nil {
		return err
	}
	const prefix, length = "HTTP/1.1 ", "Content-Length: "
	head, rest, ok := bytes.Cut(buf[:n], []byte("\r\n\r\n"))
	at := bytes.Index(head, []byte(length))
	if !ok || at < 0 || len(head) < len(prefix)+3 || string(head[len(prefix):len(prefix)+3]) != strconv.Itoa(status) {
		return fmt.Errorf("%.40q", buf[:n])
	}
	size := 0
	for _, c := range head[at+len(length):] {
		if c -= '0'; c > 9 {
			break
		}
		size = size*10 + int(c)
	}
	for size -= len(rest); size > 0; size -= n {
		if n, err = c.Read(buf); err != nil {
			return err
		}
	}
	if size < 0 {
		return fmt.Errorf("%d bytes after the answer: %w", -size, io.ErrUnexpectedEOF)
	}
	return nil
}
