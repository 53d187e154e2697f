package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"promostore/format"
	"promostore/format/generation"
	"promostore/history"
	"promostore/internal/escape"
	"promostore/reader"
)

// Limits of the requests of a History.
const (
	maxHistoryReads  = 2                // at a time, besides a comparison
	historyWait      = 2 * time.Second  // for one of them
	historyTimeout   = 10 * time.Second // to read
	defaultChanges   = 100
	maxChanges       = 10_000
	historyIdle      = 19  // times as long as a request works
	historyRetry     = "1" // seconds
	diffRetry        = "5"
	directoryRetry   = "5"
	historyTextLimit = 64 // bytes of a client's text in an error
)

// Kinds of requests, as the metrics name them.
const (
	requestGenerations = iota
	requestHistory
	requestDiff
	numRequests
)

var requestNames = [numRequests]string{"generations", "history", "diff"}

// A History answers requests about the generations of a directory, for both
// programs. It bounds how many of them read at a time, and takes no lock that a
// lookup takes. It is safe for concurrent use.
type History struct {
	dir      string
	digits   generation.Digits
	status   func() generation.Status
	json     format.JSONOptions
	limits   [2]limits // of clients without and with details
	cache    history.Cache
	stopping context.Context
	stop     context.CancelCauseFunc

	answered, refused [numRequests]atomic.Uint64
}

// limits bound the requests that read at a time.
type limits struct{ reads, diffs *semaphore.Weighted }

// limitsOf returns the limits of clients with or without details. Operators have
// their own, so that others cannot lock them out.
func (h *History) limitsOf(details bool) limits {
	if details {
		return h.limits[1]
	}
	return h.limits[0]
}

var errStopping = errors.New("the server is stopping")

// NewHistory returns a History of dir for a program that needs the shards of these
// digits. Its answers write promotions according to opts.
func NewHistory(dir string, digits generation.Digits, status func() generation.Status, opts format.JSONOptions) *History {
	h := &History{dir: dir, digits: digits, status: status, json: opts}
	for i := range h.limits {
		h.limits[i] = limits{semaphore.NewWeighted(maxHistoryReads), semaphore.NewWeighted(1)}
	}
	h.stopping, h.stop = context.WithCancelCause(context.Background())
	return h
}

// directory returns the directory as the program sees it now.
func (h *History) directory() history.Directory {
	return history.Directory{Path: h.dir, Digits: h.digits, Status: h.status(), Idle: historyIdle, Cache: &h.cache}
}

// Stop ends the running comparison and refuses others.
func (h *History) Stop() { h.stop(errStopping) }

// An Answer is an answer to a request. Its Body, or the Diff, is a JSON object with
// a line end.
type Answer struct {
	Code       int
	RetryAfter string // seconds; empty: none
	Busy       bool   // others were under way, or it took too long
	Body       []byte
	Diff       *DiffStream // writes the body; nil: Body
}

func (h *History) view(details bool) history.View {
	return history.View{JSON: h.json, Details: details, Now: time.Now()}
}

// Generations answers GET /generations. With details, it names files and has texts
// of rows.
func (h *History) Generations(ctx context.Context, details bool) Answer {
	return h.read(ctx, requestGenerations, details, func(ctx context.Context, d history.Directory) ([]byte, error) {
		list, omitted, err := d.Generations(ctx)
		if err != nil {
			return nil, err
		}
		return h.view(details).Generations(list, omitted), nil
	})
}

// Promotion answers GET /promotions/<id>/history.
func (h *History) Promotion(ctx context.Context, id []byte, details bool) Answer {
	key, ok := reader.ParseID(id)
	if !ok {
		return h.fail(requestHistory, http.StatusBadRequest, "not a promotion ID such as 172FFC14-D229-4C93-B06B-F48B8C095512")
	}
	foreign := false
	a := h.read(ctx, requestHistory, details, func(ctx context.Context, d history.Directory) ([]byte, error) {
		if live := d.Status.Live; live != nil && !d.Digits.Owns(live.Sharding, live.ShardOf(key)) {
			foreign = true
			return encodeAnswer(struct {
				Error  string `json:"error"`
				Digits string `json:"digits"`
			}{fmt.Sprintf("id %s: this server serves only ids whose %s digit is in %s", key, live.Rule, d.Digits), d.Digits.String()}), nil
		}
		entries, omitted, err := d.Lookup(ctx, key)
		if err != nil {
			return nil, err
		}
		return h.view(details).Lookup(key, entries, omitted), nil
	})
	if foreign {
		a.Code = http.StatusMisdirectedRequest
	}
	return a
}

// read calls f if few enough others read.
func (h *History) read(ctx context.Context, request int, details bool, f func(context.Context, history.Directory) ([]byte, error)) Answer {
	reads := h.limitsOf(details).reads
	if !reads.TryAcquire(1) {
		wait, cancel := context.WithTimeout(ctx, historyWait)
		defer cancel()
		if reads.Acquire(wait, 1) != nil {
			return h.refuse(request, http.StatusTooManyRequests, "too many requests for the history are under way", historyRetry)
		}
	}
	defer reads.Release(1)
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	body, err := f(ctx, h.directory())
	switch {
	case ctx.Err() != nil:
		return h.refuse(request, http.StatusServiceUnavailable, "reading took too long", historyRetry)
	case err != nil:
		return h.failed(request, err, details)
	}
	h.answered[request].Add(1)
	return Answer{Code: http.StatusOK, Body: body}
}

// Diff answers GET /generations/<from>/diff/<to>. limit is the text of the parameter
// limit; empty: none. The caller must run or close the Diff of the answer.
func (h *History) Diff(from, to, limit string, details bool) Answer {
	var ids [2]generation.ID
	for i, text := range []string{from, to} {
		var err error
		if ids[i], err = generation.ParseID(text); err != nil {
			return h.fail(requestDiff, http.StatusBadRequest, fmt.Sprintf("%q is not a generation, such as 20261122T103000123Z", text[:min(len(text), historyTextLimit)]))
		}
	}
	n := defaultChanges
	if limit != "" {
		var err error // of a number that is too long
		if n, err = strconv.Atoi(limit); err != nil || n > maxChanges || strings.Trim(limit, "0123456789") != "" {
			return h.fail(requestDiff, http.StatusBadRequest, fmt.Sprintf("limit is not a number from 0 to %d", maxChanges))
		}
	}
	if h.stopping.Err() != nil {
		return h.refuse(requestDiff, http.StatusServiceUnavailable, errStopping.Error(), diffRetry)
	}
	diffs := h.limitsOf(details).diffs
	if !diffs.TryAcquire(1) {
		return h.refuse(requestDiff, http.StatusTooManyRequests, "another comparison is under way", diffRetry)
	}
	x, err := h.directory().Diff(ids[0], ids[1])
	if err != nil {
		diffs.Release(1)
		return h.failed(requestDiff, err, details)
	}
	h.answered[requestDiff].Add(1)
	return Answer{Code: http.StatusOK, Diff: &DiffStream{h, x, ids[0], ids[1], n, h.view(details)}}
}

// failed answers a request that ended with err.
func (h *History) failed(request int, err error, details bool) Answer {
	code, reason, retry := http.StatusInternalServerError, generation.PublicReason(err), ""
	path := (*fs.PathError)(nil)
	switch {
	case errors.Is(err, generation.ErrAbsent), errors.Is(err, fs.ErrNotExist):
		code, reason = http.StatusNotFound, generation.ErrAbsent.Error()
	case errors.As(err, &path) && path.Path == h.dir:
		code, reason, retry = http.StatusServiceUnavailable, generation.DirError(h.dir, err).Error(), directoryRetry
	case errors.Is(err, generation.ErrIncomplete):
		code = http.StatusUnprocessableEntity
	case errors.Is(err, history.ErrManyFiles):
		code, reason = http.StatusUnprocessableEntity, err.Error()
	}
	if details {
		reason = err.Error()
	}
	a := h.fail(request, code, reason)
	a.RetryAfter = retry
	return a
}

func (h *History) fail(request, code int, reason string) Answer {
	h.answered[request].Add(1)
	return Answer{Code: code, Body: errorBody(reason)}
}

func (h *History) refuse(request, code int, reason, retry string) Answer {
	h.refused[request].Add(1)
	return Answer{Code: code, RetryAfter: retry, Busy: true, Body: errorBody(reason)}
}

func errorBody(reason string) []byte {
	return encodeAnswer(struct {
		Error string `json:"error"`
	}{reason})
}

func encodeAnswer(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return append(escape.JSON(text), '\n')
}

// WriteMetrics writes the metrics of h, whose names begin with prefix.
func (h *History) WriteMetrics(e *ExpositionWriter, prefix string) {
	e.Family(prefix+"_history_requests_total", "counter", "Requests about the generations (generations, history, diff), also of the page, by result: answered, refused (others were under way, or it took too long).")
	for i, name := range requestNames {
		e.Sample("", float64(h.answered[i].Load()), "request", name, "result", "answered")
		e.Sample("", float64(h.refused[i].Load()), "request", name, "result", "refused")
	}
}
