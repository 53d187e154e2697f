package transfer_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dustin/go-humanize"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/fsx"
	"promostore/internal/gentest"
	"promostore/internal/objects"
	"promostore/internal/objecttest"
	"promostore/internal/transfer"
)

// newS3 returns a model of a location in a bucket.
func newS3(t *testing.T) (*model, *objecttest.Server) {
	t.Helper()
	server := objecttest.New(t)
	server.Setenv(t)
	store, prefix, err := objects.Parse("s3://"+objecttest.Bucket+"/some/prefix", server.Options())
	gentest.Must(t, err)
	m := newModel(t, t.TempDir(), store, prefix)
	m.fail = server.Fail
	return m, server
}

func all(keep int) transfer.PullOptions {
	return transfer.PullOptions{Keep: keep, Digits: generation.AllDigits}
}

// received returns the bodies of answers of objects, in bytes.
func received(n *atomic.Int64) objecttest.Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if objecttest.Gets(r) && strings.HasSuffix(r.URL.Path, ".pgen") {
			w = countingWriter{w, n}
		}
		next.ServeHTTP(w, r)
	}
}

type countingWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (w countingWriter) Write(p []byte) (int, error) {
	w.n.Add(int64(len(p)))
	return w.ResponseWriter.Write(p)
}

// A pull continues after the last byte that the interrupted one has left.
func TestPullContinuesAFile(t *testing.T) {
	m, server := newS3(t)
	id := m.build(t, format.Unsharded, 20_000)
	gentest.Must(t, m.push(id))
	dir := m.nodes[generation.AllDigits]
	name := m.files[id][0]
	text := m.built[name]
	incoming := filepath.Join(dir, ".incoming")
	for _, test := range []struct {
		name string
		part []byte
		want int // bytes to receive
	}{
		{"nothing", nil, len(text)},
		{"a part", text[:100_000], len(text) - 100_000},
		{"all", text, 0},
		{"a part of another file", bytes.Repeat([]byte{1}, 100_000), 2*len(text) - 100_000},
		{"a longer file", append(bytes.Clone(text), 1), 0},
		{"all of another file", bytes.Repeat([]byte{1}, len(text)), len(text)},
	} {
		t.Run(test.name, func(t *testing.T) {
			gentest.Must(t, os.RemoveAll(dir))
			gentest.Must(t, os.MkdirAll(incoming, 0o755))
			gentest.Must(t, os.WriteFile(filepath.Join(incoming, name), test.part, 0o644))
			var n atomic.Int64
			server.Fail(received(&n))
			pulled, err := m.loc.Pull(t.Context(), dir, all(2))
			if err != nil || int(n.Load()) != test.want || int(pulled.Bytes) != test.want {
				t.Errorf("%v, received %d bytes, reports %d, want %d", err, n.Load(), pulled.Bytes, test.want)
			}
			m.checkNode(t, dir, generation.AllDigits)
			if _, err := os.Stat(incoming); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the incoming directory remains: %v", err)
			}
		})
	}
}

// A damaged object is received twice, then not until it changes or an hour is over.
func TestPullRefusesADamagedObject(t *testing.T) {
	m, server := newS3(t)
	old, id := m.build(t, format.Unsharded, 100), m.build(t, format.Unsharded, 20_000)
	gentest.Must(t, m.push(old))
	gentest.Must(t, m.push(id))
	dir := m.nodes[generation.AllDigits]
	name := m.files[id][0]
	damaged := bytes.Clone(m.built[name])
	damaged[len(damaged)/2] ^= 1
	m.put(t, m.prefix+name, damaged)
	var n atomic.Int64
	server.Fail(received(&n))
	twice := int64(2 * len(damaged))
	for i, want := range []int64{twice + int64(len(m.built[m.files[old][0]])), 0, 0, twice, 0} {
		if i == 3 {
			refusal := filepath.Join(dir, ".incoming", name+".refused")
			gentest.Must(t, os.Chtimes(refusal, time.Time{}, time.Now().Add(-61*time.Minute)))
		}
		n.Store(0)
		pulled, err := m.loc.Pull(t.Context(), dir, all(1))
		if !errors.Is(err, transfer.ErrDamaged) || n.Load() != want || !slices.Equal(pulled.Wanted, []generation.ID{old}) {
			t.Errorf("pull %d: %v, received %d bytes, want %d; wanted %v", i, err, n.Load(), want, pulled.Wanted)
		}
		if live := m.live(t, dir, generation.AllDigits); live != old {
			t.Errorf("pull %d: %s is live, want %s", i, live, old)
		}
	}
	m.put(t, m.prefix+name, m.built[name])
	pulled, err := m.loc.Pull(t.Context(), dir, all(1))
	if err != nil || !slices.Equal(pulled.New, []generation.ID{id}) {
		t.Errorf("pull of the repaired object: %v, %v", pulled.New, err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".incoming")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the incoming directory remains: %v", err)
	}
}

// The files of a generation must have the number of records of its manifest. A node of
// some digits has no more.
func TestPullComparesRecords(t *testing.T) {
	m, _ := newS3(t)
	id := m.build(t, shardings[1], 1000)
	gentest.Must(t, m.push(id))
	text := read(t, m.store, m.prefix+manifest(id))
	for _, c := range []struct {
		records string
		digits  generation.Digits
		want    error
	}{
		{"999", generation.AllDigits, transfer.ErrDamaged},
		{"1001", generation.AllDigits, transfer.ErrDamaged},
		{"1", 0x00ff, transfer.ErrDamaged},
		{"999", 0x00ff, nil},
		{"1000", generation.AllDigits, nil},
	} {
		m.put(t, m.prefix+manifest(id), bytes.Replace(text, []byte(`"records":1000`), []byte(`"records":`+c.records), 1))
		pulled, err := m.loc.Pull(t.Context(), m.nodes[c.digits], transfer.PullOptions{Keep: 1, Digits: c.digits})
		if !errors.Is(err, c.want) || (len(pulled.New) > 0) != (c.want == nil) {
			t.Errorf("%s records, digits %s: %+v, %v, want %v", c.records, c.digits, pulled, err, c.want)
		}
	}
}

// A pull of more bytes than the disk has free fails before the transfer.
func TestPullNeedsSpace(t *testing.T) {
	dir := t.TempDir()
	store, prefix, err := objects.Parse(filepath.Join(dir, "store"), objects.Options{})
	gentest.Must(t, err)
	m := newModel(t, dir, store, prefix)
	id := m.build(t, format.Unsharded, 100)
	gentest.Must(t, m.push(id))
	// A sparse file is larger than the disk.
	free, err := fsx.Free(dir)
	gentest.Must(t, err)
	size := free + 1<<40
	name := m.files[id][0]
	gentest.Must(t, os.Truncate(filepath.Join(dir, "store", name), size))
	text := read(t, m.store, m.prefix+manifest(id))
	m.put(t, m.prefix+manifest(id), bytes.Replace(text, fmt.Appendf(nil, `"size":%d`, len(m.built[name])), fmt.Appendf(nil, `"size":%d`, size), 1))

	node := m.nodes[generation.AllDigits]
	_, err = m.loc.Pull(t.Context(), node, all(1))
	if want := fmt.Sprintf("%s: generation %s needs %s, ", node, id, humanize.IBytes(uint64(size))); !errors.Is(err, syscall.ENOSPC) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v, want %s", err, want)
	}
	if list, err := os.ReadDir(filepath.Join(node, ".incoming")); err != nil || len(list) > 0 {
		t.Errorf("the transfer has begun: %v, %v", list, err)
	}
}

func read(t *testing.T, s objects.Store, key string) []byte {
	t.Helper()
	text, err := objects.ReadAll(t.Context(), s, key, math.MaxInt64)
	gentest.Must(t, err)
	return text
}

// A pull that takes an older generation in place of a damaged one continues it.
func TestPullContinuesASubstitute(t *testing.T) {
	m, server := newS3(t)
	old, id := m.build(t, format.Unsharded, 20_000), m.build(t, format.Unsharded, 100)
	gentest.Must(t, m.push(old))
	gentest.Must(t, m.push(id))
	m.put(t, m.prefix+m.files[id][0], bytes.Repeat([]byte{1}, len(m.built[m.files[id][0]])))
	name := m.files[old][0]
	server.Fail(objecttest.Where(func(r *http.Request) bool {
		return objecttest.Gets(r) && strings.HasSuffix(r.URL.Path, name)
	}, objecttest.Error(http.StatusForbidden, "AccessDenied", "Access Denied")))
	dir := m.nodes[generation.AllDigits]
	if _, err := m.loc.Pull(t.Context(), dir, all(1)); !errors.Is(err, objects.ErrDenied) {
		t.Fatal(err)
	}
	part := m.built[name][:100_000]
	gentest.Must(t, os.WriteFile(filepath.Join(dir, ".incoming", name), part, 0o644))
	server.Fail(nil)
	pulled, err := m.loc.Pull(t.Context(), dir, all(1))
	if want := int64(len(m.built[name]) - len(part)); !errors.Is(err, transfer.ErrDamaged) || pulled.Bytes != want || !slices.Equal(pulled.New, []generation.ID{old}) {
		t.Errorf("%+v, %v; want %d bytes", pulled, err, want)
	}
}

// A byte that changes on the way once does not refuse the object.
func TestPullRepeatsAWrongTransfer(t *testing.T) {
	m, server := newS3(t)
	id := m.build(t, format.Unsharded, 20_000)
	gentest.Must(t, m.push(id))
	server.Fail(objecttest.First(1, func(r *http.Request) bool {
		return objecttest.Gets(r) && strings.HasSuffix(r.URL.Path, ".pgen")
	}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(flippingWriter{w}, r)
	}))
	pulled, err := m.loc.Pull(t.Context(), m.nodes[generation.AllDigits], all(1))
	if size := int64(len(m.built[m.files[id][0]])); err != nil || !slices.Equal(pulled.New, []generation.ID{id}) || pulled.Bytes != 2*size {
		t.Errorf("%+v, %v; want %d bytes", pulled, err, 2*size)
	}
	m.checkNode(t, m.nodes[generation.AllDigits], generation.AllDigits)
}

type flippingWriter struct{ http.ResponseWriter }

func (w flippingWriter) Write(p []byte) (int, error) {
	p = bytes.Clone(p)
	p[0] ^= 1
	return w.ResponseWriter.Write(p)
}

// A generation that is pruned during its transfer is not damaged.
func TestPullPassesOverAPrunedGeneration(t *testing.T) {
	m, server := newS3(t)
	old, id := m.build(t, format.Unsharded, 100), m.build(t, shardings[1], 5_000)
	gentest.Must(t, m.push(old))
	gentest.Must(t, m.push(id))
	server.Fail(objecttest.First(1, func(r *http.Request) bool {
		return objecttest.Gets(r) && strings.HasSuffix(r.URL.Path, ".pgen")
	}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		keys := []string{m.prefix + manifest(id)}
		for _, name := range m.files[id] {
			keys = append(keys, m.prefix+name)
		}
		gentest.Must(t, m.store.Delete(t.Context(), keys...))
		next.ServeHTTP(w, r)
	}))
	pulled, err := m.loc.Pull(t.Context(), m.nodes[generation.AllDigits], all(1))
	if err != nil || !slices.Equal(pulled.Wanted, []generation.ID{old}) || len(pulled.PassedOver) != 1 || pulled.PassedOver[0].ID != id {
		t.Errorf("%+v, %v", pulled, err)
	}
}

// A generation in a newer version of the format is not called damaged, and the next
// older one arrives.
func TestPullPassesOverANewerFormat(t *testing.T) {
	m, _ := newS3(t)
	old, id := m.build(t, format.Unsharded, 100), m.build(t, format.Unsharded, 200)
	gentest.Must(t, m.push(old))
	gentest.Must(t, m.push(id))
	name := m.files[id][0]
	newer := bytes.Clone(m.built[name])
	newer[11] = 99 // the version
	m.put(t, m.prefix+name, newer)
	text := read(t, m.store, m.prefix+manifest(id))
	m.put(t, m.prefix+manifest(id), bytes.ReplaceAll(text, checksum(m.built[name]), checksum(newer)))
	pulled, err := m.loc.Pull(t.Context(), m.nodes[generation.AllDigits], all(1))
	if !errors.Is(err, format.ErrVersion) || errors.Is(err, transfer.ErrDamaged) || !strings.Contains(err.Error(), "upgrade promobuild") || !slices.Equal(pulled.Wanted, []generation.ID{old}) {
		t.Errorf("%+v, %v", pulled, err)
	}
}

func checksum(text []byte) []byte { return fmt.Appendf(nil, "%x", sha256.Sum256(text)) }

// The pin arrives before the files, also if it changes during their transfer.
func TestPinTravelsFirst(t *testing.T) {
	m, server := newS3(t)
	old := m.build(t, format.Unsharded, 100)
	gentest.Must(t, m.push(old))
	id := m.build(t, shardings[1], 5_000)
	gentest.Must(t, generation.SetPin(m.dir, generation.Pin{Active: true, ID: old, Reason: "wrong"}))
	server.Requests()
	gentest.Must(t, m.push(id))
	var keys []string
	for _, request := range server.Requests() {
		if method, url, _ := strings.Cut(request, " "); method == http.MethodPut {
			keys = append(keys, url[strings.LastIndex(url, "promotions"):])
		}
	}
	if len(keys) != 18 || !strings.HasPrefix(keys[0], generation.PinName) || !strings.HasPrefix(keys[17], manifest(id)) {
		t.Errorf("pushed %v, want the pin first and the manifest last", keys)
	}

	// Another rollback happens while the files arrive.
	dir := m.nodes[generation.AllDigits]
	pin := generation.Pin{Active: true, ID: old, Reason: "wrong again"}
	server.Fail(objecttest.First(1, func(r *http.Request) bool {
		return objecttest.Gets(r) && strings.HasSuffix(r.URL.Path, ".pgen")
	}, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if got, err := generation.ReadPin(dir); err != nil || !got.Equal(m.pin) {
			t.Errorf("during the transfer the pin is %v, %v", got, err)
		}
		gentest.Must(t, generation.SetPin(m.dir, pin))
		_, err := m.loc.PushPin(context.Background(), m.dir)
		gentest.Must(t, err)
		next.ServeHTTP(w, r)
	}))
	_, err := m.loc.Pull(t.Context(), dir, all(2))
	gentest.Must(t, err)
	if got, err := generation.ReadPin(dir); err != nil || !got.Equal(pin) {
		t.Errorf("the pin is %v, %v, want %v", got, err, pin)
	}
	if live := m.live(t, dir, generation.AllDigits); live != old {
		t.Errorf("%s is live, want the pinned %s", live, old)
	}
}

// A rollback to a generation that is not here interrupts the transfer of another one,
// which continues after it.
func TestRollbackDoesNotWaitForATransfer(t *testing.T) {
	transfer.SetPinInterval(t, time.Millisecond)
	m, server := newS3(t)
	old, id := m.build(t, format.Unsharded, 100), m.build(t, format.Unsharded, 20_000)
	gentest.Must(t, m.push(old))
	gentest.Must(t, m.push(id))
	dir := m.nodes[generation.AllDigits]
	var order []string // of the files that are requested
	server.Fail(objecttest.Where(objecttest.Gets, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		name := filepath.Base(r.URL.Path)
		switch {
		case strings.HasPrefix(name, "promotions-"+id.String()+"-") && len(order) == 0:
			gentest.Must(t, generation.SetPin(m.dir, generation.Pin{Active: true, ID: old, Reason: "wrong"}))
			_, err := m.loc.PushPin(context.Background(), m.dir)
			gentest.Must(t, err)
			order = append(order, name)
			<-r.Context().Done() // the transfer lasts until it is interrupted
			panic(http.ErrAbortHandler)
		case strings.HasSuffix(name, ".pgen"):
			order = append(order, name)
		}
		next.ServeHTTP(w, r)
	}))
	pulled, err := m.loc.Pull(t.Context(), dir, all(1))
	if err != nil || !slices.Equal(pulled.Wanted, []generation.ID{old, id}) || !slices.Equal(pulled.New, []generation.ID{old, id}) {
		t.Errorf("%+v, %v; want the pinned %s first", pulled, err, old)
	}
	if want := []string{m.files[id][0], m.files[old][0], m.files[id][0]}; !slices.Equal(order, want) {
		t.Errorf("requested %v, want %v", order, want)
	}
	if live := m.live(t, dir, generation.AllDigits); live != old {
		t.Errorf("%s is live, want the pinned %s", live, old)
	}
}

// A node that has newer generations than the location receives no older ones, which
// it would remove again.
func TestPullLeavesOlderGenerations(t *testing.T) {
	m, _ := newS3(t)
	var ids []generation.ID
	for range 4 {
		ids = append(ids, m.build(t, shardings[1], 1000))
		gentest.Must(t, m.send(ids[len(ids)-1]))
	}
	dir := m.nodes[generation.AllDigits]
	for i, c := range []struct {
		keep   int
		lose   []generation.ID
		wanted []generation.ID
		isNew  int
	}{
		{2, nil, []generation.ID{ids[3], ids[2]}, 2},
		{2, ids[2:], []generation.ID{ids[3], ids[2]}, 0},
		{3, nil, []generation.ID{ids[3], ids[2], ids[1]}, 1},
	} {
		for _, id := range c.lose {
			gentest.Must(t, m.store.Delete(t.Context(), m.prefix+manifest(id)))
		}
		pulled, err := m.loc.Pull(t.Context(), dir, all(c.keep))
		if err != nil || !slices.Equal(pulled.Wanted, c.wanted) || len(pulled.New) != c.isNew {
			t.Errorf("pull %d: %+v, %v, want %v", i, pulled, err, c.wanted)
		}
	}
	// A damaged one does not count.
	first := filepath.Join(dir, m.files[ids[3]][0])
	gentest.Must(t, os.Truncate(first, 4096))
	pulled, err := m.loc.Pull(t.Context(), dir, all(2))
	if err != nil || !slices.Equal(pulled.Wanted, []generation.ID{ids[2], ids[1]}) {
		t.Errorf("with a damaged one: %+v, %v", pulled, err)
	}
}

// A pull does not continue a transfer of a damaged pin, and keeps the pin here.
func TestPullRefusesADamagedPin(t *testing.T) {
	m, _ := newS3(t)
	gentest.Must(t, m.push(m.build(t, format.Unsharded, 100)))
	dir := m.nodes[generation.AllDigits]
	_, err := m.loc.Pull(t.Context(), dir, all(2))
	gentest.Must(t, err)
	gentest.Must(t, m.push(m.build(t, format.Unsharded, 100)))
	m.put(t, m.prefix+generation.PinName, []byte(`{"generation":`))
	if pulled, err := m.loc.Pull(t.Context(), dir, all(2)); !errors.Is(err, generation.ErrPin) || len(pulled.New) > 0 {
		t.Errorf("pull: %v, new %v", err, pulled.New)
	}
	if pin, err := generation.ReadPin(dir); err != nil || pin.Active {
		t.Errorf("the pin here is %v, %v", pin, err)
	}
}

// A released pin does not bring its generation back.
func TestReleasedPinIsNotPulled(t *testing.T) {
	m, _ := newS3(t)
	old := m.build(t, format.Unsharded, 100)
	gentest.Must(t, m.push(old))
	newest := m.build(t, format.Unsharded, 100)
	gentest.Must(t, generation.SetPin(m.dir, generation.Pin{Active: true, ID: old, UntilNewer: true, Newest: newest}))
	gentest.Must(t, m.push(newest))
	dir := m.nodes[generation.AllDigits]
	pulled, err := m.loc.Pull(t.Context(), dir, all(1))
	if err != nil || !slices.Equal(pulled.Wanted, []generation.ID{old, newest}) {
		t.Fatalf("pulled %v, %v, want the pinned %s and %s", pulled.Wanted, err, old, newest)
	}
	next := m.build(t, format.Unsharded, 100)
	gentest.Must(t, m.send(next))
	for i, want := range [][]generation.ID{{old, next}, {next}} { // next releases the pin here
		pulled, err = m.loc.Pull(t.Context(), dir, all(1))
		if err != nil || !slices.Equal(pulled.Wanted, want) {
			t.Errorf("pull %d: %v, %v, want %v", i, pulled.Wanted, err, want)
		}
	}
	removed, err := m.loc.Prune(t.Context(), 1, next)
	if err != nil || !slices.Equal(removed, []generation.ID{old, newest}) {
		t.Errorf("prune removed %v, %v, want %s and %s", removed, err, old, newest)
	}
}

// A generation that is pinned during a prune remains.
func TestPruneFollowsThePin(t *testing.T) {
	m, server := newS3(t)
	var ids []generation.ID
	for range 4 {
		id := m.build(t, format.Unsharded, 100)
		gentest.Must(t, m.send(id))
		ids = append(ids, id)
	}
	server.Fail(objecttest.First(1, func(r *http.Request) bool { return r.Method == http.MethodDelete },
		func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			gentest.Must(t, generation.SetPin(m.dir, generation.Pin{Active: true, ID: ids[1]}))
			_, err := m.loc.PushPin(context.Background(), m.dir)
			gentest.Must(t, err)
			next.ServeHTTP(w, r)
		}))
	removed, err := m.loc.Prune(t.Context(), 1, ids[3])
	if err != nil || !slices.Equal(removed, []generation.ID{ids[0], ids[2]}) {
		t.Errorf("removed %v, %v, want %s and %s", removed, err, ids[0], ids[2])
	}
}

// Two pulls to one directory do not run at the same time, nor does promo-pull.
func TestConcurrentPullIsRefused(t *testing.T) {
	m, server := newS3(t)
	gentest.Must(t, m.push(m.build(t, format.Unsharded, 100)))
	dir := m.nodes[generation.AllDigits]
	server.Fail(objecttest.First(1, objecttest.Lists, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if _, err := m.loc.Pull(r.Context(), dir, all(1)); !errors.Is(err, transfer.ErrLocked) {
			t.Errorf("a second pull: %v", err)
		}
		next.ServeHTTP(w, r)
	}))
	_, err := m.loc.Pull(t.Context(), dir, all(1))
	gentest.Must(t, err)
	f, err := os.Open(filepath.Join(dir, ".pull.lock"))
	gentest.Must(t, err)
	defer f.Close()
	gentest.Must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX)) // like promo-pull
	if _, err := m.loc.Pull(t.Context(), dir, all(1)); !errors.Is(err, transfer.ErrLocked) {
		t.Errorf("a pull during promo-pull: %v", err)
	}
}

// A canceled transfer ends although the server does not answer.
func TestCanceledTransferEnds(t *testing.T) {
	m, server := newS3(t)
	id := m.build(t, format.Unsharded, 20_000)
	gentest.Must(t, m.push(id))
	ctx, cancel := context.WithCancelCause(t.Context())
	server.Fail(objecttest.Where(objecttest.Gets, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, ".pgen") {
			cancel(io.ErrNoProgress)
			<-r.Context().Done()
		}
		next.ServeHTTP(w, r)
	}))
	if _, err := m.loc.Pull(ctx, m.nodes[generation.AllDigits], all(1)); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("pull: %v", err)
	}
}

// Push sends a file again only if the object of an interrupted push differs.
func TestPushContinues(t *testing.T) {
	m, server := newS3(t)
	id := m.build(t, shardings[1], 5_000)
	names := m.files[id]
	m.put(t, m.prefix+names[0], m.built[names[0]])
	m.put(t, m.prefix+names[1], bytes.Repeat([]byte{1}, len(m.built[names[1]])))
	server.Requests()
	gentest.Must(t, m.push(id))
	puts := 0
	for _, request := range server.Requests() {
		method, url, _ := strings.Cut(request, " ")
		if read := method == http.MethodGet || method == http.MethodHead; read && strings.HasSuffix(url, ".pgen") &&
			!strings.HasSuffix(url, names[0]) && !strings.HasSuffix(url, names[1]) {
			t.Errorf("%s of an absent object", request)
		}
		if strings.HasPrefix(request, http.MethodPut) && strings.Contains(request, ".pgen") {
			puts++
			if strings.Contains(request, names[0]) {
				t.Error("a good object was sent again")
			}
		}
	}
	if puts != 15 {
		t.Errorf("%d files sent, want 15", puts)
	}
	m.pull(t, generation.AllDigits)
}

// Of two builds with the same ID, the first one that is complete remains.
func TestPushRefusesOtherContent(t *testing.T) {
	m, _ := newS3(t)
	id := m.build(t, format.Unsharded, 100)
	gentest.Must(t, m.push(id))
	gentest.Publish(t, m.dir, id, gentest.Scattered(101))
	if err := m.push(id); !errors.Is(err, transfer.ErrConflict) {
		t.Errorf("push: %v", err)
	}
	m.pull(t, generation.AllDigits)
}

// Generations from the future come after all others, as in servers.
func TestFutureGenerationIsNotPreferred(t *testing.T) {
	m, _ := newS3(t)
	good := m.build(t, format.Unsharded, 100)
	gentest.Must(t, m.push(good))
	m.next = generation.IDOf(time.Now().Add(48 * time.Hour))
	future := m.build(t, format.Unsharded, 100)
	gentest.Must(t, m.push(future))
	pulled, err := m.loc.Pull(t.Context(), m.nodes[generation.AllDigits], all(1))
	if err != nil || !slices.Equal(pulled.Wanted, []generation.ID{good}) {
		t.Errorf("pulled %v, %v, want %s", pulled.Wanted, err, good)
	}
	pulled, err = m.loc.Pull(t.Context(), m.nodes[generation.AllDigits], all(2))
	if err != nil || !slices.Equal(pulled.Wanted, []generation.ID{good, future}) {
		t.Errorf("pulled %v, %v, want %s and %s", pulled.Wanted, err, good, future)
	}
}
