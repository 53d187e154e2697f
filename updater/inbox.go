package updater

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"promostore/builder"
	"promostore/format/generation"
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
	log      *slog.Logger

	seen      map[string]sighting // files of the previous poll
	lastErr   string              // of the previous poll
	saidLease bool                // logged that leases tell whether a file is complete
	saidQuiet bool                // logged that some files wait for the quiet time

	mu     sync.Mutex // guards status
	status inboxStatus
}

// A sighting is the identity of a waiting file.
type sighting struct {
	id    fsx.Identity
	since time.Time // of the first poll that returned id
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
// builds the files that are ready.
func (x *inbox) pollOnce() error {
	if err := x.dir.refresh(); err != nil {
		return err
	}
	if err := x.resume(); err != nil {
		return err
	}
	taken, err := x.dir.dirs[buildingDir].Files()
	if err != nil {
		return err
	}
	for _, info := range taken {
		if err := x.build(info.Name()); err != nil {
			return err
		}
	}
	ready, err := x.ready()
	if err != nil {
		return err
	}
	for _, name := range ready {
		if err := x.take(name); err != nil {
			return err
		}
	}
	return x.updateStatus()
}

// resume finishes the files that a crash left in publishingDir: a file whose
// generation exists is done, any other is built again.
func (x *inbox) resume() error {
	files, err := x.dir.dirs[publishingDir].Files()
	if err != nil {
		return err
	}
	for _, info := range files {
		at := place{publishingDir, info.Name()}
		idText, name, _ := strings.Cut(info.Name(), "_")
		id, err := generation.ParseID(idText)
		if err != nil {
			return fmt.Errorf("inbox: %s/%s: %w", at.sub, at.name, err)
		}
		_, err = generation.Find(x.pipeline.opts.Dir, id)
		switch {
		case err == nil:
			x.log.Info("published before a restart", "source", sourceInbox, "name", name, "generation", id.String())
			err = x.dir.finish(at, name, id.String())
		case errors.Is(err, generation.ErrAbsent):
			err = x.dir.move(at, place{buildingDir, name})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ready returns the names of the waiting files that are complete: unchanged
// since the previous poll and not open for writing. If the kernel does not tell
// whether a file is open, the file must be unchanged for the quiet time.
func (x *inbox) ready() ([]string, error) {
	waiting, err := x.dir.waiting()
	if err != nil {
		return nil, err
	}
	seen := map[string]sighting{}
	var names []string
	for _, info := range waiting {
		name := info.Name()
		s := sighting{fsx.IdentityOf(info), x.now()}
		if last, ok := x.seen[name]; ok && last.id.Equal(s.id) {
			s = last
			if x.isComplete(name, s) {
				names = append(names, name)
			}
		}
		seen[name] = s
	}
	x.seen = seen
	return names, nil
}

// isComplete reports whether a file that two polls saw unchanged may be taken.
func (x *inbox) isComplete(name string, s sighting) bool {
	f, err := x.dir.open(place{"", name})
	if err == nil {
		err = checkLease(f)
		f.Close()
	}
	switch {
	case err == nil:
		if !x.saidLease {
			x.saidLease = true
			x.log.Info("inbox files are taken when no process has them open for writing", "name", name)
		}
		return true
	case errors.Is(err, errWritten), errors.Is(err, fs.ErrNotExist), errors.Is(err, fsx.ErrNotRegular):
		return false
	}
	if !x.saidQuiet {
		x.saidQuiet = true
		x.log.Warn("cannot tell whether a process writes to an inbox file; such files are taken after a time without a change",
			"name", name, "seconds", x.quiet.Seconds(), "error", err)
	}
	return x.now().Sub(s.since) >= x.quiet
}

// take builds a waiting file. It acquires the slot first, so its owner can still
// withdraw the file while another build runs.
func (x *inbox) take(name string) error {
	if err := x.pipeline.slot.acquire(); err != nil {
		return err
	}
	defer x.pipeline.slot.release()
	err := x.dir.move(place{"", name}, place{buildingDir, name})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
		return nil // removed by its owner, or waiting for an earlier file of that name
	}
	if err != nil {
		return err
	}
	return x.buildWithSlot(name, x.seen[name].id)
}

// build builds a file of buildingDir.
func (x *inbox) build(name string) error {
	if err := x.pipeline.slot.acquire(); err != nil {
		return err
	}
	defer x.pipeline.slot.release()
	return x.buildWithSlot(name, fsx.Identity{})
}

// buildWithSlot builds a file of buildingDir; the caller holds the slot. It
// returns an error if the file remains to be built. A rejected file is moved to
// failedDir and is no error. Neither is a file that was written since the poll
// that saw it: it waits again. seen is zero if no poll of this process saw it.
func (x *inbox) buildWithSlot(name string, seen fsx.Identity) error {
	if err := x.updateStatus(); err != nil {
		return err
	}
	at := place{buildingDir, name}
	f, err := x.dir.open(at)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("inbox: %w", err)
	}
	if err != nil {
		return x.dir.fail(at, name, err.Error())
	}
	defer f.Close()
	opened, err := unchanged(f, seen)
	if err != nil {
		return x.putBack(name, err)
	}
	in := builder.StreamInput(name, f)
	in.Size = opened.Size
	res, err := x.pipeline.build(context.Background(), job{
		source: sourceInbox, name: name, input: in,
		publishing: func(id generation.ID) error {
			if now, err := unchanged(f, opened); err != nil {
				return err
			} else if !now.Equal(opened) {
				return errChanged
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
	case errors.Is(err, errChanged), errors.Is(err, errWritten):
		return x.putBack(name, err)
	case errors.Is(err, errStopped), errors.Is(err, generation.ErrLocked):
		if at.sub != buildingDir {
			return errors.Join(err, x.dir.move(at, place{buildingDir, name}))
		}
		return err
	}
	return x.dir.fail(at, name, x.pipeline.hintFor(err).appendTo(err.Error()))
}

// unchanged returns the identity of f. The error is errChanged if its content
// differs from that of the identity since, and errWritten if a process has it
// open for writing. The move to buildingDir is no change, and a zero identity
// is not compared.
func unchanged(f *os.File, since fsx.Identity) (fsx.Identity, error) {
	info, err := f.Stat()
	if err != nil {
		return fsx.Identity{}, err
	}
	id := fsx.IdentityOf(info)
	if since != (fsx.Identity{}) && !id.SameContent(since) {
		return id, errChanged
	}
	if err := checkLease(f); errors.Is(err, errWritten) {
		return id, err
	}
	return id, nil
}

// putBack lets a file of buildingDir wait again until it is complete.
func (x *inbox) putBack(name string, reason error) error {
	x.log.Warn("inbox file waits again", "name", name, "error", reason)
	return x.dir.moveToUnused(place{buildingDir, name}, "", name, time.Now().UTC().Format(reportTime))
}

// maxListed is the number of waiting files that /status names.
const maxListed = 100

// inboxStatus describes the inbox in GET /status.
type inboxStatus struct {
	Waiting int      `json:"waiting"`
	Names   []string `json:"names"` // of the first maxListed waiting files, in the order of the builds
	Done    int      `json:"done"`
	Failed  int      `json:"failed"`
}

// updateStatus counts the files of the inbox.
func (x *inbox) updateStatus() error {
	st, err := x.dir.count()
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.status = st
	return nil
}

// counts returns the status after the latest step.
func (x *inbox) counts() inboxStatus {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.status
}
