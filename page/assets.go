package page

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"path"
)

// assets has the answers to requests for the files that the page loads, by their
// paths, such as "/assets/0a1b2c3d/page.css". A path contains a checksum, so that the
// file never changes.
var assets, assetPaths = loadAssets("page.css", "page.js", "icon.svg")

// contentTypes has the types of the assets. The tables of a system may have others,
// which browsers refuse because of the header nosniff.
var contentTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// loadAssets returns the assets by their paths, and their paths below the root by name.
func loadAssets(names ...string) (byPath map[string]Answer, paths map[string]string) {
	byPath, paths = map[string]Answer{}, map[string]string{}
	for _, name := range names {
		body, err := files.ReadFile(name)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		sum := sha256.Sum256(body)
		paths[name] = "assets/" + hex.EncodeToString(sum[:6]) + "/" + name
		byPath["/"+paths[name]] = Answer{Code: http.StatusOK, ContentType: contentTypes[path.Ext(name)], CacheControl: "public, max-age=31536000, immutable", Body: body, Shared: true}
	}
	return byPath, paths
}

// FindAsset returns the answer to a request for an asset.
func FindAsset(requestPath string) (a Answer, ok bool) {
	a, ok = assets[requestPath]
	return a, ok
}
