package updater

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"promostore/internal/escape"
	"promostore/internal/fsx"
)

// The path of a file in an inbox is its state, so that a restart continues
// where a crash interrupted. Every change of state is one rename:
//
//	NAME                  waiting
//	.building/NAME        taken; not published
//	.publishing/ID_NAME   published if generation ID exists, else taken
//	done/NAME             published
//	failed/NAME           rejected; failed/NAME.errors has the reason
const (
	buildingDir   = ".building"
	publishingDir = ".publishing"
	doneDir       = "done"
	failedDir     = "failed"
	reportSuffix  = ".errors"
	inboxLock     = ".lock"
)

// reportTime is the format of the time that makes the name of a file unique.
const reportTime = "20060102T150405.000Z"

// subDirs lists the directories in an inbox.
var subDirs = []string{buildingDir, publishingDir, doneDir, failedDir}

// An inboxDir moves the files of an inbox from state to state. Users who may
// write to the inbox can replace everything in it at any time. All its methods
// therefore use descriptors of the directories and follow no links in them. Not
// safe for concurrent use.
type inboxDir struct {
	path  string
	dirs  map[string]*fsx.Dir // "" and subDirs
	watch *fsx.Watch          // of ""; nil if the kernel does not provide one
	lock  *os.File
	match string // Options.InboxMatch
	log   *slog.Logger
}

// A place is a file of an inbox.
type place struct{ sub, name string }

// openInboxDir creates path and locks it for this process. path must not be
// data, the directory of the generations: the inbox would build generation files
// and move them away.
func openInboxDir(path, data, match string, log *slog.Logger) (*inboxDir, error) {
	if err := CheckInboxMatch(match); err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	if dataInfo, err := os.Stat(data); err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	} else if info, err := os.Stat(path); err == nil && os.SameFile(dataInfo, info) {
		return nil, fmt.Errorf("inbox %s: is the directory of the generations", path)
	}
	d := &inboxDir{path: path, dirs: map[string]*fsx.Dir{}, match: match, log: log}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	if err := d.refresh(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// refresh opens the directories that were replaced since they were opened, and
// creates missing ones. On an error d continues with the directories that it
// has.
func (d *inboxDir) refresh() error {
	if info, err := os.Stat(d.path); err != nil {
		return fmt.Errorf("inbox: %w", err)
	} else if root := d.dirs[""]; root == nil || !root.Is(info) {
		if err := d.openRoot(); err != nil {
			return err
		}
	}
	var errs []error
	for _, name := range subDirs {
		if old := d.dirs[name]; old != nil {
			if info, err := d.dirs[""].Lstat(name); err == nil && old.Is(info) {
				continue
			}
		}
		sub, err := d.dirs[""].Sub(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("inbox: %w", err))
			continue
		}
		if old := d.dirs[name]; old != nil {
			d.log.Warn("inbox directory was replaced", "name", name)
			old.Close()
		}
		d.dirs[name] = sub
	}
	return errors.Join(errs...)
}

// openRoot opens and locks the directory that path names.
func (d *inboxDir) openRoot() error {
	root, err := fsx.OpenDir(d.path)
	if err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	lock, err := root.OpenOrCreate(inboxLock, 0o644)
	if err != nil {
		root.Close()
		return fmt.Errorf("inbox: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		root.Close()
		return fmt.Errorf("inbox %s: in use by another updater: %w", d.path, err)
	}
	err = d.close()
	d.dirs[""], d.lock = root, lock
	watch, watchErr := root.Watch()
	if watchErr != nil {
		d.log.Warn("cannot tell whether the process that creates an inbox file has closed it", "error", watchErr)
		return err
	}
	d.watch = watch
	return err
}

// isCreating reports whether the process that created a waiting file still has
// it open. It returns false if that is unknown.
func (d *inboxDir) isCreating(name string) bool { return d.watch != nil && d.watch.IsOpen(name) }

// close closes all directories and releases the lock.
func (d *inboxDir) close() error {
	var errs []error
	for _, dir := range d.dirs {
		errs = append(errs, dir.Close())
	}
	clear(d.dirs)
	if d.watch != nil {
		errs = append(errs, d.watch.Close())
		d.watch = nil
	}
	if d.lock != nil {
		errs = append(errs, d.lock.Close())
	}
	return errors.Join(errs...)
}

// isOpen reports whether all directories are open.
func (d *inboxDir) isOpen() bool { return len(d.dirs) == 1+len(subDirs) }

// open opens a regular file for reading.
func (d *inboxDir) open(p place) (*os.File, error) { return d.dirs[p.sub].OpenRegular(p.name) }

// waiting returns the files that wait for a build, complete or not, and the
// number of files whose names are not those of data sets. It does not count
// hidden files.
func (d *inboxDir) waiting() (list []os.FileInfo, ignored int, err error) {
	all, err := d.dirs[""].Files()
	if err != nil {
		return nil, 0, err
	}
	list = all[:0]
	for _, info := range all {
		name := info.Name()
		matches, _ := path.Match(d.match, name) // a valid pattern
		switch {
		case IsDataSetName(name) && (matches || d.match == ""):
			list = append(list, info)
		case !strings.HasPrefix(name, "."):
			ignored++
		}
	}
	return list, ignored, nil
}

// finish moves a published file to doneDir.
func (d *inboxDir) finish(at place, name, id string) error {
	return d.moveToUnused(at, doneDir, name, id)
}

// fail moves a rejected file to failedDir, next to a report. It writes the
// report first, so that every file there has one. Neither replaces another file.
func (d *inboxDir) fail(at place, name, report string) error {
	dir := d.dirs[failedDir]
	const temp = ".report.tmp"
	if err := dir.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a killed process
		return fmt.Errorf("inbox: %w", err)
	}
	f, err := dir.Create(temp, 0o644)
	if err != nil {
		return fmt.Errorf("inbox: report: %w", err)
	}
	_, err = f.WriteString(escape.Text(report) + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("inbox: report: %w", errors.Join(err, dir.Remove(temp)))
	}
	for to := range candidates(name, time.Now().UTC().Format(reportTime)) {
		if _, err := dir.Lstat(to); err == nil {
			continue
		}
		err := dir.Rename(temp, dir, to+reportSuffix)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("inbox: report: %w", errors.Join(err, dir.Remove(temp)))
		}
		if err = d.move(at, place{failedDir, to}); err == nil {
			return nil
		}
		return errors.Join(err, dir.Remove(to+reportSuffix)) // the next attempt writes another one
	}
	return fmt.Errorf("inbox: no unused name for %s", name)
}

// candidates returns the names for a file in a directory that may contain name.
func candidates(name, suffix string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(name) || !yield(name+"."+suffix) {
			return
		}
		for i := 2; i < 100; i++ {
			if !yield(fmt.Sprintf("%s.%s.%d", name, suffix, i)) {
				return
			}
		}
	}
}

// moveToUnused moves a file to sub: as name, followed by suffix if name is in
// use.
func (d *inboxDir) moveToUnused(at place, sub, name, suffix string) error {
	for to := range candidates(name, suffix) {
		if err := d.move(at, place{sub, to}); !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return fmt.Errorf("inbox: no unused name for %s", name)
}

// move renames a file durably. The error is fs.ErrExist if the new name is in
// use.
func (d *inboxDir) move(from, to place) error {
	if err := d.dirs[from.sub].Rename(from.name, d.dirs[to.sub], to.name); err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	return nil
}

// count counts the files of each state. building is the file that is not waiting
// in buildingDir.
func (d *inboxDir) count(building string) (inboxStatus, error) {
	if !d.isOpen() {
		return inboxStatus{}, nil // refresh has reported it
	}
	again, err := d.dirs[buildingDir].Files()
	if err != nil {
		return inboxStatus{}, err
	}
	again = slices.DeleteFunc(again, func(info fs.FileInfo) bool { return info.Name() == building })
	waiting, ignored, err := d.waiting()
	if err != nil {
		return inboxStatus{}, err
	}
	waiting = append(again, waiting...)
	st := inboxStatus{Waiting: len(waiting), Names: []string{}, Ignored: ignored}
	for _, info := range waiting[:min(len(waiting), maxListed)] {
		st.Names = append(st.Names, escape.Name(info.Name()))
	}
	for sub, n := range map[string]*int{doneDir: &st.Done, failedDir: &st.Failed} {
		files, err := d.dirs[sub].Files()
		if err != nil {
			return inboxStatus{}, err
		}
		names := map[string]bool{}
		for _, info := range files {
			names[info.Name()] = true
		}
		for name := range names {
			// A rejected file may have the suffix of a report, but then it has one.
			isReport := sub == failedDir && strings.HasSuffix(name, reportSuffix) && !names[name+reportSuffix]
			if !strings.HasPrefix(name, ".") && !isReport {
				*n++
			}
		}
	}
	return st, nil
}
