package web

import (
	"net/http"
	"strconv"
	"time"
)

// Write sends a. A client that does not read for timeout is cut off.
func (a Answer) Write(w http.ResponseWriter, r *http.Request, timeout time.Duration) {
	out := &deadlineWriter{w, http.NewResponseController(w), timeout}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if a.RetryAfter != "" {
		w.Header().Set("Retry-After", a.RetryAfter)
	}
	switch {
	case a.Diff == nil:
		w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
		w.WriteHeader(a.Code)
		_, _ = out.Write(a.Body) // it fails only if the client has gone
	case r.Method == http.MethodHead:
		a.Diff.Close()
		w.WriteHeader(a.Code)
	default:
		a.Diff.Run(r.Context(), out, out.control.Flush)
	}
}

// A deadlineWriter gives each Write a deadline. A connection without deadlines gets
// its answer nevertheless.
type deadlineWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

func (w *deadlineWriter) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(w.timeout))
	return w.ResponseWriter.Write(p)
}
