package transfer_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/internal/objects"
	"promostore/internal/objecttest"
)

// A summary is copied before the manifest and before the files, and pruned with them.
func TestSummaryGoesWithItsGeneration(t *testing.T) {
	m, server := newS3(t)
	dir := m.nodes[generation.AllDigits]
	var ids []generation.ID
	for i := range keep + 1 {
		id := m.build(t, shardings[i], 100)
		ids = append(ids, id)
		gentest.Must(t, generation.WriteSummary(m.dir, id, generation.Summary{Source: generation.SourceInbox, Rows: int64(i), Records: int64(i)}))
		server.Requests()
		gentest.Must(t, m.push(id))
		var puts []string
		for _, r := range server.Requests() {
			if url, isPut := strings.CutPrefix(r, "PUT "); isPut {
				name, _, _ := strings.Cut(path.Base(url), "?")
				puts = append(puts, name)
			}
		}
		summary, manifest := slices.Index(puts, generation.SummaryName(id)), slices.Index(puts, "promotions-"+id.String()+".json")
		if summary < 0 || summary != manifest-1 || manifest != len(puts)-1 {
			t.Errorf("objects in the order %q", puts)
		}
	}
	_, err := m.loc.Pull(t.Context(), dir, all(keep))
	gentest.Must(t, err)
	for i, id := range ids {
		s, err := generation.ReadSummary(dir, id)
		if i == 0 {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the summary of a pruned generation arrives: %v", err)
			}
			if _, err := m.store.Open(t.Context(), m.prefix+generation.SummaryName(id)); !errors.Is(err, objects.ErrNotFound) {
				t.Errorf("the summary of a pruned generation remains: %v", err)
			}
		} else if err != nil || s.Records != int64(i) {
			t.Errorf("summary %+v, %v", s, err)
		}
	}
}

// A generation arrives whatever its summary is.
func TestPullPassesOverBadSummaries(t *testing.T) {
	m, _ := newS3(t)
	dir := m.nodes[generation.AllDigits]
	for name, text := range map[string]string{
		"damaged": "{", "of another generation": `{"version":1,"generation":"20200101T000000000Z","source":"inbox"}`, "too long": strings.Repeat(" ", 1<<20),
	} {
		id := m.build(t, format.Unsharded, 10)
		gentest.Must(t, os.WriteFile(filepath.Join(m.dir, generation.SummaryName(id)), []byte(text), 0o644))
		gentest.Must(t, m.push(id))
		if _, err := m.store.Open(t.Context(), m.prefix+generation.SummaryName(id)); !errors.Is(err, objects.ErrNotFound) {
			t.Errorf("%s: push sends it: %v", name, err)
		}
		m.put(t, m.prefix+generation.SummaryName(id), []byte(text))
		if p, err := m.loc.Pull(t.Context(), dir, all(1)); err != nil || !slices.Contains(p.New, id) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if _, err := os.Stat(filepath.Join(dir, generation.SummaryName(id))); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: pull writes it: %v", name, err)
		}
	}
}

// A store that refuses every request for a summary has and loses generations
// nevertheless.
func TestStoreRefusesSummaries(t *testing.T) {
	m, server := newS3(t)
	dir := m.nodes[generation.AllDigits]
	old := m.build(t, format.Unsharded, 10)
	gentest.Must(t, generation.WriteSummary(m.dir, old, generation.Summary{Source: generation.SourceInbox}))
	gentest.Must(t, m.push(old))
	var refused sync.Map // by method
	server.Fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		body, err := io.ReadAll(r.Body)
		gentest.Must(t, err)
		r.Body = io.NopCloser(bytes.NewReader(body))
		if strings.Contains(r.URL.Path+string(body), ".summary.json") {
			refused.Store(r.Method, true)
			objecttest.Error(http.StatusForbidden, "AccessDenied", "Access Denied")(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	})
	id := m.build(t, format.Unsharded, 20)
	gentest.Must(t, generation.WriteSummary(m.dir, id, generation.Summary{Source: generation.SourceInbox}))
	gentest.Must(t, m.push(id))
	if p, err := m.loc.Pull(t.Context(), dir, all(2)); err != nil || !slices.Equal(p.New, []generation.ID{id, old}) {
		t.Errorf("pull: %+v, %v", p, err)
	}
	if removed, err := m.loc.Prune(t.Context(), 1, id); err != nil || !slices.Equal(removed, []generation.ID{old}) {
		t.Errorf("prune: %v, %v", removed, err)
	}
	for _, method := range []string{http.MethodPut, http.MethodGet, http.MethodDelete} {
		if _, ok := refused.Load(method); !ok {
			t.Errorf("no %s of a summary was refused", method)
		}
	}
}
