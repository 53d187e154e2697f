// Package openapi holds the description of all requests that promoserve and the
// updater answer. Tests compare every answer with it.
package openapi

import _ "embed"

//go:embed openapi.json
var document []byte

// Document returns an OpenAPI 3.1 document as JSON. The caller must not change it.
func Document() []byte { return document }
