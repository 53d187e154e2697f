package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/httpd"
	"promostore/internal/escape"
	"promostore/openapi"
	"promostore/page"
	"promostore/web"
)

// An admin serves profiles, build details and the full status on a loopback
// address.
type admin struct {
	ln  net.Listener
	srv *http.Server
}

// adminAddress parses a loopback address.
func adminAddress(text string) (*net.TCPAddr, error) {
	if _, err := strconv.ParseUint(text, 10, 16); err == nil {
		return nil, fmt.Errorf("no host; write 127.0.0.1:%s", text)
	}
	if err := program.CheckAddress(text); err != nil {
		return nil, err
	}
	address, err := net.ResolveTCPAddr("tcp", text)
	if err != nil {
		return nil, err
	}
	if !address.IP.IsLoopback() {
		return nil, errors.New("not a loopback address, such as 127.0.0.1:1323")
	}
	return address, nil
}

// listenAdmin listens on address. The caller must call serve, and close.
func listenAdmin(address *net.TCPAddr) (*admin, error) {
	ln, err := program.Listen("admin-listen", address.String(), net.ListenConfig{})
	if err != nil {
		return nil, err
	}
	// There is no write timeout: a profile may run for any duration.
	const timeout = 10 * time.Second
	return &admin{ln, &http.Server{ReadTimeout: timeout, IdleTimeout: timeout}}, nil
}

// adminHandler serves profiles and build details of the process, and the status
// of srv.
func adminHandler(srv *httpd.Server, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /version", version)
	mux.HandleFunc("GET /openapi.json", describe)
	mux.HandleFunc("GET /status", status(srv))
	if srv.History() != nil {
		mux.HandleFunc("GET /{$}", index(srv))
		mux.HandleFunc("GET /activity", activity(srv))
		mux.HandleFunc("GET /assets/", asset)
		mux.HandleFunc("GET /generations", generations(srv))
		mux.HandleFunc("GET /promotions/{ID}/history", promotionHistory(srv))
		mux.HandleFunc("GET /generations/{FROM}/diff/{TO}", diff(srv))
	}
	mux.HandleFunc("GET /log-slow", logSlow(srv))
	mux.HandleFunc("PUT /log-slow", setLogSlow(srv, log))
	return localOnly(bounded(maxAnswers, web.ExactPaths(jsonErrors(mux), notFound)))
}

// Limits of the admin listener.
const (
	adminTimeout = 10 * time.Second // that a client does not read
	maxAnswers   = 8                // in memory at a time
)

// bounded lets n requests run at a time, besides those for profiles. Others wait,
// because an answer is in memory until the client has read it.
func bounded(n int64, next http.Handler) http.Handler {
	running := semaphore.NewWeighted(n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/debug/pprof/") {
			if running.Acquire(r.Context(), 1) != nil {
				return // the client has gone
			}
			defer running.Release(1)
		}
		next.ServeHTTP(w, r)
	})
}

// localOnly rejects requests for the host of another site, whose page could read
// the profiles through a browser on this machine. Such a page cannot read those of a
// loopback host, but it could begin them, and they slow the server down.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site := r.Header.Get("Sec-Fetch-Site")
		switch {
		case !web.LocalHost(r, nil):
			fail(w, http.StatusForbidden, "the host is not a loopback name or address")
		case strings.HasPrefix(r.URL.Path, "/debug/") && (site == "cross-site" || site == "same-site"):
			fail(w, http.StatusForbidden, "a page of another site asks for a profile")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// jsonErrors answers as mux does, but with JSON if mux has no handler for a request.
func jsonErrors(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		e := errorWriter{ResponseWriter: w}
		h.ServeHTTP(&e, r)
		fail(w, e.code, strings.ToLower(http.StatusText(e.code)))
	})
}

// An errorWriter keeps the code and the headers of an answer.
type errorWriter struct {
	http.ResponseWriter
	code int
}

func (w *errorWriter) WriteHeader(code int)        { w.code = code }
func (w *errorWriter) Write(p []byte) (int, error) { return len(p), nil }

func notFound(w http.ResponseWriter, _ *http.Request) { fail(w, http.StatusNotFound, "not found") }

// serve answers requests about srv until close.
func (a *admin) serve(srv *httpd.Server, log *slog.Logger) {
	log.Info("admin", "address", a.ln.Addr().String())
	a.srv.Handler = adminHandler(srv, log)
	a.srv.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	if err := a.srv.Serve(a.ln); !errors.Is(err, http.ErrServerClosed) {
		log.Error("admin", "error", err)
	}
}

func (a *admin) close() {
	_ = a.srv.Close()
	_ = a.ln.Close() // srv does not know it before serve
}

// version reports the version, the commit and the build settings of the program.
func version(w http.ResponseWriter, _ *http.Request) {
	answer := struct {
		Version  string            `json:"version"`
		Go       string            `json:"go"`
		Format   int               `json:"format"` // version of the file format that it reads
		Commit   string            `json:"commit,omitempty"`
		Settings map[string]string `json:"settings"`
	}{Version: program.Version(), Format: format.Version, Settings: map[string]string{}}
	if info, ok := debug.ReadBuildInfo(); ok {
		answer.Go = info.GoVersion
		for _, s := range info.Settings {
			answer.Settings[s.Key] = s.Value
		}
		answer.Commit = answer.Settings["vcs.revision"]
	}
	reply(w, answer)
}

// describe describes all requests as an OpenAPI document.
func describe(w http.ResponseWriter, _ *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(adminTimeout))
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openapi.Document()) // it fails only if the client has gone
}

// status reports the same as /status of the public port, and the author and the
// reason of the pin and the refused files with their errors.
func status(srv *httpd.Server) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { reply(w, srv.Status()) }
}

// index serves the page with the details of `/status` and `/generations`.
func index(srv *httpd.Server) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a := page.Respond(r.Context(), srv.History(), srv.View(), page.QueryOf(r), true)
		a.Write(w, adminTimeout)
	}
}

// activity reports the same as that of the public port.
func activity(srv *httpd.Server) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		reply(w, srv.Activity())
	}
}

// asset serves a file that the page loads.
func asset(w http.ResponseWriter, r *http.Request) {
	a, ok := page.FindAsset(r.URL.Path)
	if !ok {
		notFound(w, r)
		return
	}
	a.Write(w, adminTimeout)
}

// generations lists the same as `/generations` of the public port, and the inputs and
// the first bad rows of their builds.
func generations(srv *httpd.Server) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		srv.History().Generations(r.Context(), true).Write(w, r, adminTimeout)
	}
}

// promotionHistory reports the same as that of the public port, and names files in
// errors.
func promotionHistory(srv *httpd.Server) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		srv.History().Promotion(r.Context(), []byte(r.PathValue("ID")), true).Write(w, r, adminTimeout)
	}
}

// diff compares the same as that of the public port, and names files in errors.
func diff(srv *httpd.Server) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		srv.History().Diff(r.PathValue("FROM"), r.PathValue("TO"), r.URL.Query().Get("limit"), true).Write(w, r, adminTimeout)
	}
}

// A slowSetting is the JSON body of /log-slow.
type slowSetting struct {
	LogSlow string `json:"log_slow"` // duration, or "off"
}

// logSlow reports which requests are logged: those that take log_slow or longer.
func logSlow(srv *httpd.Server) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { reply(w, slowSettingOf(srv)) }
}

func slowSettingOf(srv *httpd.Server) slowSetting {
	if over := srv.LogSlow(); over >= 0 {
		return slowSetting{over.String()}
	}
	return slowSetting{"off"}
}

// setLogSlow changes --log-slow until the server ends. The body is a duration, or
// "off".
func setLogSlow(srv *httpd.Server, log *slog.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		const maxBody = 100
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		over := time.Duration(-1)
		if setting := strings.TrimSpace(string(text)); err == nil && setting != "off" {
			if over, err = time.ParseDuration(setting); err != nil || over < 0 {
				err = fmt.Errorf("%q is neither a duration such as 50ms nor off", setting)
			}
		}
		if err != nil {
			fail(w, http.StatusBadRequest, err.Error())
			return
		}
		srv.SetLogSlow(over)
		setting := slowSettingOf(srv)
		log.Info("log of slow requests changed", "client", r.RemoteAddr, "log_slow", setting.LogSlow)
		reply(w, setting)
	}
}

// reply answers 200 with v as JSON.
func reply(w http.ResponseWriter, v any) { answer(w, http.StatusOK, v) }

// fail answers with an error.
func fail(w http.ResponseWriter, code int, reason string) {
	answer(w, code, struct {
		Error string `json:"error"`
	}{reason})
}

// answer answers with v as JSON. The reason of a pin is of any content, so the answer
// has no character that controls a terminal.
func answer(w http.ResponseWriter, code int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	// The deadline bounds a client that does not read. A connection without deadlines
	// gets its answer nevertheless.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(adminTimeout))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write(append(escape.JSON(text), '\n')) // it fails only if the client has gone
}
