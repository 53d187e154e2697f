// Package web holds the parts that the HTTP servers of promoserve and of the
// updater share: the TLS certificate, the exposition of metrics, and the
// shape of the status.
//
// It does not answer requests: promoserve uses fasthttp and the updater
// net/http, so each server routes and writes its own answers. It does not
// obtain or renew certificates either; something else replaces the files and
// then calls Reload.
package web
