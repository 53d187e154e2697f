package updater

import "promostore/format/generation"

// prune removes old generations after files were published, and returns the
// removed ones. An error is logged only: the new generation is published
// whether or not old ones could be removed.
func (p *pipeline) prune(files []string) []string {
	p.checker.Trust(files...)
	if p.keep == 0 {
		return nil
	}
	w, err := generation.OpenWriter(p.opts.Dir)
	if err != nil {
		p.log.Error("prune", "error", err)
		return nil
	}
	defer w.Close()
	pruned, err := w.Prune(p.ctx, generation.PruneOptions{
		Keep:  p.keep,
		Check: func(g generation.Generation) error { return p.checker.Verify(p.ctx, g) },
	})
	if err != nil {
		p.log.Error("prune", "error", err)
	}
	var names []string
	for _, g := range pruned.Removed {
		names = append(names, g.ID.String())
		p.log.Info("generation pruned", "generation", g.ID.String())
	}
	return names
}
