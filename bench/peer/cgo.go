//go:build cgo

package peer

var cgoPeers = []Peer{LMDB, SQLite, DuckDB}
