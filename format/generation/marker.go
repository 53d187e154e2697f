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
	tempPrefix   = "."
	tempSuffix   = ".tmp"        // an unpublished file
	markerSuffix = ".publishing" // after the name of shard 0: List hides the set while it is incomplete
)

func tempName(n Name) string { return tempPrefix + n.String() + tempSuffix }

// isTempName reports whether s is the name of an unpublished file.
func isTempName(s string) bool {
	_, ok := parseHidden(s, tempSuffix)
	return ok
}

func markerName(shard0 Name) string { return tempPrefix + shard0.String() + markerSuffix }

// parseMarker returns the name of shard 0 of the set that the marker s hides.
func parseMarker(s string) (Name, bool) {
	n, ok := parseHidden(s, markerSuffix)
	return n, ok && n.Shard == 0
}

func parseHidden(s, suffix string) (Name, bool) {
	name, ok := strings.CutSuffix(s, suffix)
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

// sweepMarkers ends the interrupted publication of sets: it removes the files of
// a set, unless all of them are there, and then its marker.
func (w *Writer) sweepMarkers() error {
	files, unfinished, err := readFiles(w.dir)
	if err != nil {
		return err
	}
	for _, set := range unfinished {
		var paths []string
		for _, f := range files {
			if f.ID == set.ID && f.Shards == set.Shards {
				paths = append(paths, f.path)
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
		if err := w.removeMarker(markerName(set)); err != nil {
			return err
		}
	}
	return nil
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
