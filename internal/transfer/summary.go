package transfer

import (
	"context"

	"promostore/format/generation"
	"promostore/internal/objects"
)

// A generation is served without its summary, so the functions here ignore errors.

// putSummary copies the summary of a generation of dir to l.
func (l Location) putSummary(ctx context.Context, dir string, id generation.ID) {
	if s, err := generation.ReadSummary(dir, id); err == nil {
		l.PutSummary(ctx, id, s)
	}
}

// PutSummary writes the summary of a generation if it can.
func (l Location) PutSummary(ctx context.Context, id generation.ID, s generation.Summary) {
	_ = l.putSmall(ctx, generation.SummaryName(id), s.Encode(id), objects.Always)
}

// pullSummary copies the summary of a generation from l, before its files.
func (p *pull) pullSummary(ctx context.Context, id generation.ID) {
	text, err := p.readSmall(ctx, generation.SummaryName(id), generation.MaxSummaryLen)
	if err != nil {
		return
	}
	if s, err := generation.ParseSummary(text, id); err == nil {
		_ = generation.WriteSummary(p.dir, id, s)
	}
}
