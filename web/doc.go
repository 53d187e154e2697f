// Package web holds the parts that the HTTP servers of promoserve and of the
// updater share: the TLS certificate, the exposition of metrics, the shape of the
// status, and the answers about the generations.
//
// It routes no requests: promoserve uses fasthttp and the updater net/http. It does
// not obtain or renew certificates either; something else replaces the files and
// then calls Reload.
package web
