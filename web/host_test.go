package web_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"promostore/web"
)

func TestLocalHost(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:1322": true, "LOCALHOST.": true, "127.0.0.1": true, "127.9.9.9:1": true, "[::1]": true, "[::1]:1322": true,
		"10.0.0.7": true, "10.0.0.7:1322": true, "updater": true, "Updater:1322": true,
		"": false, "evil.example": false, "evil.example:1322": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false,
		"10.0.0.8": false, "0.0.0.0": false, "updater.evil.example": false, "[evil.example]": false, "localhost@evil.example": false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/status", nil)
		r.Host = host
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 1322})))
		if got := web.LocalHost(r, []string{"updater"}); got != want {
			t.Errorf("host %q: %t, want %t", host, got, want)
		}
	}
}
