package updater

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"promostore/builder"
	"promostore/format/generation"
)

// A pipeline makes generations of data sets: it builds and publishes one,
// prunes old ones and queues the command to run after publishing. The caller of
// build must hold the slot; everything else is safe for concurrent use.
type pipeline struct {
	opts builder.Options // common to all builds
	keep int             // generations to keep; 0: all
	hint func(error) Hint
	log  *slog.Logger
	ctx  context.Context // of all builds; its cause tells why it ended

	slot     *slot
	builds   buildLog
	counters counters
	checker  generation.Checker
	hooks    *hooks
}

// build builds j and publishes its generation. It stops when the context of the
// pipeline ends. The error wraps generation.ErrLocked, and nothing is recorded,
// if another process is building.
func (p *pipeline) build(j job) (*result, error) {
	r := &result{Source: j.source, Name: j.name, Upload: j.upload, Since: time.Now().UTC()}
	log := p.log.With("source", j.source, "name", j.name)
	if j.upload != "" {
		log = log.With("upload", j.upload)
	}
	log.Debug("build started")
	p.builds.begin(j, r.Since)

	opts := p.opts
	opts.Inputs = []builder.Input{j.input}
	opts.Source = generation.Source(j.source)
	opts.Observe = p.builds.observe
	opts.Publishing = j.publishing
	summary, err := builder.Build(p.ctx, opts)
	if errors.Is(err, context.Canceled) && p.ctx.Err() != nil {
		err = context.Cause(p.ctx)
	}
	if err != nil && j.failed != nil {
		if ferr := j.failed(); ferr != nil {
			err = ferr
		}
	}
	r.Outcome = outcomeOf(err)
	if r.Comparison = comparisonOf(summary, err); r.Comparison != nil {
		c := r.Comparison
		p.counters.countComparison(*c)
		log = log.With("live", c.Live, "added", c.Added, "removed", c.Removed, "changed", c.Changed, "unchanged", c.Unchanged)
	}
	switch {
	case errors.Is(err, generation.ErrLocked):
		log.Debug("another process is building", "error", err)
		p.builds.end(nil)
		return nil, err
	case r.Outcome == outcomeChanged:
		r.Error = err.Error()
		log.Warn("nothing published; the file waits again", "result", r.Outcome, "error", r.Error)
	case err != nil:
		r.Error = p.hintFor(err).appendTo(brief(err))
		errors.As(err, &r.bad)
		p.logNothingPublished(log, r, err)
	default:
		r.Summary = &summary
		if summary.Unterminated {
			log = log.With("unterminated", true)
		}
		log.Info("generation published", "generation", summary.Generation, "records", summary.Records, "seconds", summary.Seconds)
		if l := summary.LargestShard; summary.Uneven() {
			log.Warn("uneven shards; the sharding rule "+summary.OtherRule()+" may divide the ids more evenly", "shard_by", summary.ShardBy, "shard", l.Shard,
				"shard_records", l.Records, "mean_records", summary.Records/int64(summary.Shards))
		}
		p.counters.countPublished(summary)
		r.Pruned = p.prune(summary.Files)
		r.Pinned = p.pinned(log, summary.Generation)
		p.warnOfFuture(log)
	}
	r.Until = time.Now().UTC()
	p.counters.countBuild(r.Outcome)
	p.builds.end(r)
	if err == nil {
		p.hooks.add(r)
	}
	return r, err
}

// comparisonOf returns the comparison with the live generation of a build, or nil
// if it made none.
func comparisonOf(s builder.Summary, err error) *builder.Comparison {
	if content := (*builder.ContentError)(nil); errors.As(err, &content) {
		return content.Comparison
	}
	return s.Comparison
}

// levelOf returns the level to log a build that published nothing. The sender of
// the data set has to correct a warning, the operator an error.
func levelOf(outcome string) slog.Level {
	switch outcome {
	case outcomeBadRows, outcomeRefused, outcomeInterrupted:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// logNothingPublished logs the error of a build, with the first bad row if there
// are any. The error in r, which /status shows, has no rows.
func (p *pipeline) logNothingPublished(log *slog.Logger, r *result, err error) {
	text := r.Error
	if errors.Is(err, builder.ErrEmpty) { // err quotes the first bad row
		text = p.hintFor(err).appendTo(err.Error())
	}
	if bad := (*builder.BadRowsError)(nil); errors.As(err, &bad) && len(bad.Rows) > 0 {
		log = log.With("first_bad_row", bad.Rows[0].String())
	}
	log.Log(context.Background(), levelOf(r.Outcome), "nothing published", "result", r.Outcome, "error", text)
}

// warnOfFuture names the generations from the future.
func (p *pipeline) warnOfFuture(log *slog.Logger) {
	list, err := generation.List(p.opts.Dir)
	if err != nil {
		log.Error("generations", "error", err)
	}
	for _, g := range generation.Future(list) {
		log.Warn("generation from the future; remove its file", "file", g.Files[0], "ahead_seconds", int64(g.ID.Ahead(time.Now()).Seconds()))
	}
}

// pinned returns the pinned generation, or "" if there is none, and warns that
// servers do not follow the new generation, published.
func (p *pipeline) pinned(log *slog.Logger, published string) string {
	id, err := generation.ParseID(published)
	var pin generation.Pin
	if err == nil {
		pin, err = generation.ReadPin(p.opts.Dir)
	}
	switch {
	case err != nil:
		log.Error("servers keep the generation that they serve", "error", err)
	case pin.ReleasedBy(id, time.Now()):
		log.Info("the new generation releases the pin", "pinned", pin.ID.String(), "by", pin.By, "reason", pin.Reason, "at", pin.At)
	case pin.Active:
		log.Warn("servers keep the pinned generation", "pinned", pin.ID.String(), "by", pin.By, "reason", pin.Reason, "at", pin.At)
		return pin.ID.String()
	}
	return ""
}
