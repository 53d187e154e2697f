package transfer

import (
	"context"

	"promostore/format/generation"
	"promostore/internal/objects"
)

// putSummary copies the summary of a generation of dir to l. A missing or damaged
// one is passed over.
func (l Location) putSummary(ctx context.Context, dir string, id generation.ID) error {
	s, err := generation.ReadSummary(dir, id)
	if err != nil {
		return nil
	}
	return l.PutSummary(ctx, id, s)
}

// PutSummary writes the summary of a generation.
func (l Location) PutSummary(ctx context.Context, id generation.ID, s generation.Summary) error {
	return l.putSmall(ctx, generation.SummaryName(id), s.Encode(id), objects.Always)
}

// pullSummary copies the summary of a generation from l, before its files. The
// generation is served without it too, so errors do not matter.
func (p *pull) pullSummary(ctx context.Context, id generation.ID) {
	text, err := p.readSmall(ctx, generation.SummaryName(id), generation.MaxSummaryLen)
	if err != nil {
		return
	}
	if s, err := generation.ParseSummary(text, id); err == nil {
		_ = generation.WriteSummary(p.dir, id, s)
	}
}
