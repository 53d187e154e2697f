package web

import (
	"net/http"
	"path"
)

// ExactPaths calls notFound for a path with empty or dot segments. A ServeMux
// would answer it with a redirect without a body, which a client that uploads
// does not follow.
func ExactPaths(next http.Handler, notFound http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := r.URL.Path
		if clean := path.Clean("/" + p); clean != p && (clean == "/" || clean+"/" != p) {
			notFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
