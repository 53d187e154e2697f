package generation

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"promostore/internal/fsx"
)

// Hidden names hold the name of a file between a prefix and a suffix.
const (
	tempPrefix = "."
	tempSuffix = ".tmp" // an unpublished file

	// A marker has the name of shard 0 of a set that is being published.
	markerPrefix = "." + prefix
	markerSuffix = suffix + ".publishing"
)

func tempName(n Name) string { return tempPrefix + n.String() + tempSuffix }

func isTempName(s string) bool {
	_, ok := parseHidden(s, tempSuffix)
	return ok
}

func markerName(n Name) string {
	return strings.TrimSuffix(tempPrefix+Name{ID: n.ID, Shards: n.Shards}.String(), suffix) + markerSuffix
}

// parseMarker returns the name of shard 0 of the set that the marker s hides.
func parseMarker(s string) (Name, bool) {
	n, ok := parseHidden(s, strings.TrimPrefix(markerSuffix, suffix))
	return n, ok && n.Shard == 0
}

func parseHidden(s, end string) (Name, bool) {
	name, ok := strings.CutSuffix(s, end)
	if !ok || !strings.HasPrefix(name, tempPrefix) {
		return Name{}, false
	}
	n, err := ParseName(name[len(tempPrefix):])
	return n, err == nil
}

// createMarker makes List hide an incomplete set, durably.
func (w *Writer) createMarker(name string) error {
	f, err := os.OpenFile(filepath.Join(w.dir, name), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return fsx.SyncDir(w.dir)
}

// removeMarker ends the publication of a set, durably.
func (w *Writer) removeMarker(name string) error {
	if err := removeIfThere(filepath.Join(w.dir, name)); err != nil {
		return err
	}
	return fsx.SyncDir(w.dir)
}

// sweepMarker ends the interrupted publication of a set: it removes the files,
// unless all of them are there, and then the marker.
func (w *Writer) sweepMarker(set Name) error {
	var paths []string // of the files that are there
	for shard := range set.Shards {
		path := filepath.Join(w.dir, Name{set.ID, shard, set.Shards}.String())
		if _, err := os.Lstat(path); err == nil {
			paths = append(paths, path)
		}
	}
	if len(paths) < set.Shards {
		if err := removeAll(paths); err != nil {
			return err
		}
	}
	// The files, or their absence, must be durable before the marker goes.
	if err := fsx.SyncDir(w.dir); err != nil {
		return err
	}
	return w.removeMarker(markerName(set))
}

func removeAll(paths []string) error {
	var errs []error
	for _, path := range paths {
		errs = append(errs, removeIfThere(path))
	}
	return errors.Join(errs...)
}

func removeIfThere(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
