package updater

import (
	"os"
	"sync"

	"promostore/builder"
	"promostore/format"
	"promostore/format/generation"
)

// prune removes all but the newest generations, when one was published, and
// returns what was removed. That it cannot is no reason to say that nothing was
// published.
func (s *Server) prune(last builder.Summary) []string {
	s.verified.add(last.File)
	if s.opts.Keep == 0 {
		return nil
	}
	w, err := generation.OpenWriter(s.opts.Build.Dir)
	if err != nil {
		s.log.Error("prune", "error", err)
		return nil
	}
	defer w.Close()
	pruned, err := w.Prune(s.ctx, generation.PruneOptions{Keep: s.opts.Keep, Good: s.verified.check})
	if err != nil {
		s.log.Error("prune", "error", err)
	}
	var names []string
	for _, g := range pruned.Removed {
		names = append(names, g.ID.String())
		s.log.Info("generation pruned", "generation", g.ID.String())
	}
	return names
}

// verified remembers which files are good, so that each is read once. Safe for
// concurrent use.
type verified struct {
	mu    sync.Mutex
	files map[string]os.FileInfo
}

// add says that a file is good.
func (v *verified) add(path string) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.files == nil {
		v.files = map[string]os.FileInfo{}
	}
	for path := range v.files {
		if _, err := os.Stat(path); err != nil {
			delete(v.files, path)
		}
	}
	v.files[path] = info
}

func (v *verified) has(path string) bool {
	info, err := os.Stat(path)
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.files[path]
	return err == nil && old != nil && os.SameFile(old, info) && old.Size() == info.Size() && old.ModTime().Equal(info.ModTime())
}

// check is why a generation cannot be served, or nil.
func (v *verified) check(g generation.Generation) error {
	if _, err := g.Header(); err != nil {
		return err
	}
	path := g.Files[0]
	if v.has(path) {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	x, err := format.Open(f, info.Size())
	if err != nil {
		return err
	}
	if err := x.Verify(f, nil); err != nil {
		return err
	}
	v.add(path)
	return nil
}
