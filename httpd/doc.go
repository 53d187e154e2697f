// Package httpd serves promotions over HTTP: one at a time, in batches, and
// with the endpoints that an operator needs.
//
// A request for one promotion takes no lock, allocates nothing and writes no
// memory that all processors share. It acquires the live generation, copies
// one record out of it, and counts itself in a shard of the metrics, which its
// connection selects. It logs nothing.
//
// fasthttp adds no lock to a request. Its connection counters, its map of idle
// connections and its pools are used when a connection begins or ends. Twice per
// request it writes an 8-byte idle flag; flags of different connections may
// share a cache line.
//
// The package does not promise HTTP/2, and it does not tell clients apart by
// anything except their address. Both belong to a proxy in front of it.
package httpd
