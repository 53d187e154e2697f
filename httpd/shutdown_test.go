package httpd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"promostore/httpd"
)

func TestShutdownWaitsForRunningRequests(t *testing.T) {
	f := serveSocket(t, httpd.Options{})
	idle, idleReader := f.dial(t)
	fmt.Fprint(idle, request("/healthz"))
	receive(t, idleReader)
	late, lateReader := f.dial(t)
	fmt.Fprint(late, strings.TrimSuffix(request("/promotions/"+exampleID), "\r\n"))

	f.Drain()
	f.get(t, "/readyz").want(t, 503, `{"error":"draining"}`)
	if got := f.metric(t, "promoserve_ready"); got != "0" {
		t.Errorf("promoserve_ready is %s while draining", got)
	}
	c, r := f.dial(t)
	fmt.Fprint(c, request("/promotions/"+exampleID))
	receive(t, r).want(t, 200, exampleJSON)
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after an answer while draining: %v, want the end of the connection", err)
	}
	f.get(t, "/healthz").want(t, 200, `{"status":"ok"}`)

	stopped := make(chan error, 1)
	go func() { stopped <- f.Shutdown(context.Background()) }()
	if _, err := idleReader.ReadByte(); err == nil {
		t.Error("an idle connection receives an answer")
	}
	select {
	case err := <-stopped:
		t.Error("Shutdown returns before the running request is answered:", err)
	default:
	}
	fmt.Fprint(late, "\r\n")
	receive(t, lateReader).want(t, 200, exampleJSON)
	must(t, <-stopped)
	if _, err := net.Dial("tcp", f.ln.Addr().String()); err == nil {
		t.Error("a connection is accepted after Shutdown")
	}
}

func TestShutdownEndsWithContext(t *testing.T) {
	f := serveSocket(t, httpd.Options{})
	c, _ := f.dial(t)
	fmt.Fprint(c, "GET /")
	f.get(t, "/healthz") // now the server has accepted the incomplete request, too
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := f.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v, want %v", err, context.Canceled)
	}
}

// TestShutdownBeforeServe calls Shutdown before Serve, and while it starts.
func TestShutdownBeforeServe(t *testing.T) {
	for i := range 200 {
		srv := httpd.New(httpd.Options{Logger: slog.New(slog.DiscardHandler)})
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		if i == 0 {
			must(t, srv.Shutdown(context.Background()))
		}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(ln) }()
		must(t, srv.Shutdown(context.Background()))
		must(t, <-served)
	}
}
