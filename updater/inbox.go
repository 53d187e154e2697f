package updater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"promostore/builder"
	"promostore/format/generation"
	"promostore/internal/escape"
	"promostore/internal/fsx"
)

// An inbox builds the files of an inbox directory. Only run, and the methods
// that it calls, use the directory; counts is safe for concurrent use.
type inbox struct {
	dir      *inboxDir
	pipeline *pipeline
	poll     time.Duration
	quiet    time.Duration // without a change, before a file that may be open for writing is taken
	now      func() time.Time
	lease    func(*os.File) error // fsx.CheckLease
	log      *slog.Logger

	seen      map[place]sighting // waiting files of the previous poll, and files of buildingDir that changed
	failures  map[place]failure
	tried     map[place]bool       // in this poll
	rejected  map[string]rejection // files of buildingDir that could not be moved to failedDir
	numErrors uint64
	building  string // the file of the running build
	lastErr   string // of the previous poll
	saidLease bool   // logged that leases tell whether a file is complete
	saidQuiet bool   // logged that some files wait for the quiet time

	mu     sync.Mutex // guards status
	status inboxStatus
}

// errChanged reports a file that was written after the inbox had taken it.
var errChanged = errors.New("the file changed while it was built")

// run takes files until the build slot closes.
func (x *inbox) run() {
	tick := time.NewTicker(x.poll)
	defer tick.Stop()
	for {
		x.step()
		select {
		case <-tick.C:
		case <-x.pipeline.slot.closing:
			return
		}
	}
}

// step polls once and logs an error, unless the previous poll returned the same
// one.
func (x *inbox) step() {
	last := x.lastErr
	x.lastErr = ""
	err := x.pollOnce()
	if err == nil || errors.Is(err, errClosed) || errors.Is(err, errStopped) {
		return
	}
	x.lastErr = err.Error()
	level := slog.LevelError
	if errors.Is(err, generation.ErrLocked) {
		level = slog.LevelInfo // another process is building
	}
	if x.lastErr != last {
		x.log.Log(context.Background(), level, "inbox", "error", err)
	}
}

// pollOnce continues with the files that an earlier process had taken, and then
// builds the files that are ready. It returns errors that concern all files; try
// keeps those of one file.
func (x *inbox) pollOnce() error {
	x.tried = map[place]bool{}
	err := x.pollFiles()
	if !isPause(err) { // all files were tried, or none could be found
		maps.DeleteFunc(x.failures, func(at place, _ failure) bool { return !x.tried[at] })
		maps.DeleteFunc(x.rejected, func(name string, _ rejection) bool { return !x.tried[place{buildingDir, name}] })
		if err != nil {
			x.numErrors++
		}
	}
	return errors.Join(err, x.updateStatus())
}

func (x *inbox) pollFiles() error {
	refreshed := x.dir.refresh()
	if !x.dir.isOpen() {
		return refreshed
	}
	publishing, err := x.dir.dirs[publishingDir].Files()
	if err != nil {
		return errors.Join(refreshed, err)
	}
	for _, info := range publishing {
		at := place{publishingDir, info.Name()}
		if err := x.try(at, func() error { return x.resume(at) }); err != nil {
			return err
		}
	}
	taken, err := x.dir.dirs[buildingDir].Files()
	if err != nil {
		return errors.Join(refreshed, err)
	}
	for _, info := range taken {
		at := place{buildingDir, info.Name()}
		if _, changed := x.seen[at]; changed {
			var complete bool
			if complete, x.seen[at] = x.isComplete(at, info); !complete {
				continue
			}
		}
		if err := x.try(at, func() error { return x.build(at) }); err != nil {
			return err
		}
	}
	ready, err := x.ready()
	if err != nil {
		return errors.Join(refreshed, err)
	}
	for _, name := range ready {
		if err := x.try(place{"", name}, func() error { return x.take(name) }); err != nil {
			return err
		}
	}
	return refreshed
}

// isPause reports whether err ends a poll without being a failure.
func isPause(err error) bool {
	return errors.Is(err, errClosed) || errors.Is(err, errStopped) || errors.Is(err, generation.ErrLocked)
}

// A failure describes a failed attempt to build or move a file.
type failure struct {
	err   string
	pause time.Duration // after the failure
	until time.Time     // the end of the pause
}

// Pauses between two attempts to build or move a file: each is twice as long as
// the one before it.
const (
	minPause = time.Second
	maxPause = time.Minute
)

// try calls do for a file, unless the file failed and its pause lasts. It
// records an error of do, so that one file does not stop the others. It returns
// only an error that ends the poll.
func (x *inbox) try(at place, do func() error) error {
	x.tried[at] = true
	last, failed := x.failures[at]
	if failed && x.now().Before(last.until) {
		return nil
	}
	err := do()
	if err == nil {
		if failed {
			delete(x.failures, at)
			x.log.Info("inbox file goes on", "name", escape.Name(at.name))
		}
		return nil
	}
	if isPause(err) {
		return err
	}
	x.numErrors++
	p := failure{err.Error(), min(max(2*last.pause, minPause), maxPause), time.Time{}}
	p.until = x.now().Add(p.pause)
	if at.sub == "" { // it may have been taken before it failed
		if _, err := x.dir.dirs[buildingDir].Lstat(at.name); err == nil {
			at.sub = buildingDir
		}
	}
	x.tried[at] = true
	x.failures[at] = p
	if !failed || last.err != p.err {
		x.log.Error("inbox file waits for another attempt", "name", escape.Name(at.name), "error", escape.Name(p.err))
	}
	return nil
}

// resume finishes a file of publishingDir, which a crash or an error left there:
// a file whose generation exists is done, any other is built again.
func (x *inbox) resume(at place) error {
	idText, name, _ := strings.Cut(at.name, "_")
	id, err := generation.ParseID(idText)
	if err != nil {
		return fmt.Errorf("inbox: %s/%s: %w", at.sub, at.name, err)
	}
	_, err = generation.Find(x.pipeline.opts.Dir, id, generation.AllDigits)
	switch {
	case err == nil:
		if err := x.dir.finish(at, name, id.String()); err != nil {
			return err
		}
		x.log.Info("moved to done after an interruption", "source", sourceInbox, "name", escape.Name(name), "generation", id.String())
		return nil
	case errors.Is(err, generation.ErrAbsent):
		return x.dir.move(at, place{buildingDir, name})
	}
	return err
}

// take builds a waiting file. It acquires the slot first, so its owner can still
// withdraw the file while another build runs.
func (x *inbox) take(name string) error {
	if err := x.pipeline.slot.acquire(); err != nil {
		return err
	}
	defer x.pipeline.slot.release()
	taken := takenName(name)
	err := x.dir.move(place{"", name}, place{buildingDir, taken})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return nil // removed by its owner, or waiting for an earlier file of that name
	}
	if err != nil {
		return err
	}
	if taken != name {
		x.log.Warn("name of inbox file shortened", "name", escape.Name(name), "to", escape.Name(taken))
	}
	return x.buildWithSlot(taken, x.seen[place{"", name}].id)
}

// build builds a file of buildingDir.
func (x *inbox) build(at place) error {
	if err := x.pipeline.slot.acquire(); err != nil {
		return err
	}
	defer x.pipeline.slot.release()
	return x.buildWithSlot(at.name, x.seen[at].id)
}

// buildWithSlot builds a file of buildingDir; the caller holds the slot. It
// returns an error if the file remains to be built. A rejected file is moved to
// failedDir and is no error. Neither is a file that was written since the poll
// that saw it: it waits again. seen is zero if no poll of this process saw it.
func (x *inbox) buildWithSlot(name string, seen fsx.Identity) error {
	x.building = name
	defer func() { x.building = "" }()
	if err := x.updateStatus(); err != nil {
		return err
	}
	at := place{buildingDir, name}
	f, err := x.dir.open(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed
	}
	if errors.Is(err, fsx.ErrNotRegular) || errors.Is(err, fs.ErrPermission) {
		return x.reject(at, name, rejection{report: err.Error()})
	}
	if err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	defer f.Close()
	opened, err := x.unchanged(f, seen)
	if err != nil {
		x.log.Warn("inbox file waits again", "name", escape.Name(name), "error", err)
		return x.putBack(name)
	}
	changed := func() error {
		if at.sub != buildingDir { // checked before; the move set the change time
			return nil
		}
		now, err := x.unchanged(f, opened)
		if err == nil && !now.Equal(opened) {
			err = errChanged
		}
		return err
	}
	if r, ok := x.rejected[name]; ok && r.id.Equal(opened) {
		return x.reject(at, name, r)
	}
	in := builder.StreamInput(escape.Name(name), f)
	in.Size = opened.Size
	if opened.Size > 0 && hasGaps(f, opened.Size) && !isCompressed(f) {
		// Zero bytes would count as one bad row, which --max-bad-rows may allow.
		in.Open = func() (io.ReadCloser, error) { return nil, errGaps }
	}
	res, err := x.pipeline.build(job{
		source: sourceInbox, name: escape.Name(name), input: in,
		failed: changed,
		publishing: func(id generation.ID) error {
			if err := changed(); err != nil {
				return err
			}
			to := place{publishingDir, id.String() + "_" + name}
			err := x.dir.move(at, to)
			if err == nil {
				at = to
			}
			return err
		},
	})
	switch {
	case err == nil:
		return x.dir.finish(at, name, res.Summary.Generation)
	case isChange(err):
		return x.putBack(name)
	case errors.Is(err, errStopped), errors.Is(err, generation.ErrLocked):
		if at.sub != buildingDir {
			return errors.Join(err, x.dir.move(at, place{buildingDir, name}))
		}
		return err
	case isSystemError(err):
		if at.sub == publishingDir { // the generation may be visible
			return errors.Join(err, x.resume(at))
		}
		return err
	}
	return x.reject(at, name, rejection{opened, x.pipeline.hintFor(err).appendTo(err.Error())})
}

// isSystemError reports whether a build failed because of the system, such as a
// full disk, and not because of the data set. The same build may succeed later.
func isSystemError(err error) bool {
	return !isRefusal(err) && !errors.As(err, new(*builder.BadRowsError)) && errors.As(err, new(syscall.Errno))
}

// A rejection is the result of a build that rejected a file.
type rejection struct {
	id     fsx.Identity
	report string
}

// reject moves a file to failedDir. If that fails it keeps the result, so that
// the next attempt does not build the file again.
func (x *inbox) reject(at place, name string, r rejection) error {
	if err := x.dir.fail(at, name, r.report); err != nil {
		x.rejected[name] = r
		return err
	}
	delete(x.rejected, name)
	return nil
}

// isChange reports whether err is about a file that is not complete after all.
func isChange(err error) bool { return errors.Is(err, errChanged) || errors.Is(err, fsx.ErrWritten) }

// putBack lets a file of buildingDir wait again until it is complete. It stays
// there if a newer file has its name, which then waits for it.
func (x *inbox) putBack(name string) error {
	at := place{buildingDir, name}
	err := x.dir.move(at, place{"", name})
	if errors.Is(err, fs.ErrExist) {
		x.seen[at] = sighting{}
		return nil
	}
	return err
}

// maxListed is the number of waiting files that /status names.
const maxListed = 100

// inboxStatus describes the inbox in GET /status.
type inboxStatus struct {
	Ignored int      `json:"ignored"` // by their names; hidden files do not count
	Waiting int      `json:"waiting"` // for a build, for the first or another time
	Names   []string `json:"names"`   // of the first maxListed waiting files, in the order of the builds
	Done    int      `json:"done"`
	Failed  int      `json:"failed"`
	Stuck   int      `json:"stuck"` // files whose latest build or move failed, and which are tried again

	errors uint64 // failed builds and moves of such files, and failed polls
}

// updateStatus counts the files of the inbox.
func (x *inbox) updateStatus() error {
	st, err := x.dir.count(x.building)
	x.mu.Lock()
	defer x.mu.Unlock()
	if err == nil {
		x.status = st
	}
	x.status.Stuck, x.status.errors = len(x.failures), x.numErrors
	return err
}

// counts returns the status after the latest step.
func (x *inbox) counts() inboxStatus {
	x.mu.Lock()
	defer x.mu.Unlock()
	st := x.status
	if st.Names == nil { // the inbox has not been read, or is not readable
		st.Names = []string{}
	}
	return st
}
