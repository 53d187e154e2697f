package updater

import (
	"promostore/builder"
	"promostore/format/generation"
)

// prune removes all but the newest generations, when one was published, and
// returns what was removed. That it cannot is no reason to say that nothing was
// published.
func (s *Server) prune(last builder.Summary) []string {
	s.checker.Trust(last.File)
	if s.opts.Keep == 0 {
		return nil
	}
	w, err := generation.OpenWriter(s.opts.Build.Dir)
	if err != nil {
		s.log.Error("prune", "error", err)
		return nil
	}
	defer w.Close()
	pruned, err := w.Prune(s.ctx, generation.PruneOptions{
		Keep:  s.opts.Keep,
		Check: func(g generation.Generation) error { return s.checker.Verify(s.ctx, g) },
	})
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
