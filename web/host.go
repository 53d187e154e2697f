package web

import (
	"net"
	"net/http"
	"slices"
	"strings"
)

// LocalHost reports whether the Host header of r names this machine: localhost,
// a loopback address, the address at which the request arrived, or one of names.
//
// A server without credentials must reject every other host. A page of another
// site can point its own name at the address of the server, and the browser then
// treats the server as a part of that site (DNS rebinding). It cannot choose the
// header: the header holds the name of the page.
func LocalHost(r *http.Request, names []string) bool {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, host) }) {
		return true
	}
	ip := net.ParseIP(host)
	local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ip.IsLoopback() || ip != nil && local != nil && local.IP.Equal(ip)
}
