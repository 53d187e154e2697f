package httpd_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"promostore/httpd"
	"promostore/reader"
)

// BenchmarkHandler measures the handler of GET without the network.
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

// BenchmarkLookup measures the handler of a batch without the network.
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

// BenchmarkLookupQuery parses a query for 1,000 IDs with appendIDs and with
// encoding/json.
func BenchmarkLookupQuery(b *testing.B) {
	body := []byte(`{"ids":["` + exampleID + strings.Repeat(`","`+exampleID, 999) + `"]}`)
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		var ids [][]byte
		for b.Loop() {
			ids, _, _ = httpd.AppendIDs(ids[:0], body)
		}
		if len(ids) != 1000 {
			b.Fatalf("%d ids", len(ids))
		}
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := httpd.ParseLookup(body)
			must(b, err)
		}
	})
}
