package tasks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"promostore/builder"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/diff"
	"promostore/internal/objects"
	"promostore/internal/transfer"
)

// comparesContent reports whether the records of the live generation matter.
func (p *Plan) comparesContent() bool { return p.Live != nil && p.Policies.guards().ComparesContent() }

// checkLive checks that the live generation can be compared shard by shard.
func (p *Plan) checkLive() error {
	if !p.comparesContent() || p.Live.Shards == p.Shards && p.Live.ShardBy == p.ShardBy {
		return nil
	}
	return &builder.ContentError{Cause: fmt.Errorf("generation %s has %s, and this plan %s; plan with the same shards",
		p.Live.Generation, shardsText(p.Live.Shards, p.Live.ShardBy), shardsText(p.Shards, p.ShardBy))}
}

func shardsText(n int, by string) string {
	if n == 1 {
		return "1 shard"
	}
	return fmt.Sprintf("%d shards by the %s digits", n, by)
}

// compare compares the merged file with that of the live generation if a limit needs
// it. The result is nil otherwise.
func (m *merge) compare(ctx context.Context, path string) (*diff.Counts, error) {
	if !m.comparesContent() {
		return nil, nil
	}
	livePath, err := m.receiveLive(ctx)
	if err != nil {
		return nil, err
	}
	live, err := generation.OpenFile(livePath)
	if err != nil {
		return nil, explainLive(err)
	}
	defer live.Close()
	built, err := generation.OpenFile(path)
	if err != nil {
		return nil, err
	}
	defer built.Close()
	counts, err := new(diff.Comparer).Compare(ctx,
		diff.Source{Styles: live.Styles(), Scan: func(ctx context.Context, yield func([]format.Record) error) error {
			err := live.Scan(ctx, yield)
			if errors.As(err, new(*generation.FileError)) {
				err = explainLive(err)
			}
			return err
		}},
		diff.Source{Styles: built.Styles(), Scan: built.Scan})
	return &counts, err
}

// explainLive makes the error of a live file that is gone or damaged a
// *builder.ContentError.
func explainLive(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return errLiveDeleted(err)
	}
	if isDamage(err) {
		return &builder.ContentError{Cause: err}
	}
	return err
}

// errLiveDeleted returns the error of a live file that was deleted after the plan,
// such as by the publish of a later plan.
func errLiveDeleted(err error) error {
	return &builder.ContentError{Cause: fmt.Errorf("%w; plan again to compare with the present one", err)}
}

// receiveLive returns the path of the file of this shard in the live generation,
// which it receives from object storage.
func (m *merge) receiveLive(ctx context.Context) (path string, err error) {
	f := m.Live.Files[m.shard]
	out, err := openFolder(m.Out, m.opts)
	if err != nil {
		return "", err
	}
	if out.isLocal() {
		return filepath.Join(out.path, f.Name), nil
	}
	path = filepath.Join(m.temp, f.Name)
	err = m.downloadLive(ctx, out, f, path)
	switch {
	case errors.Is(err, objects.ErrNotFound):
		err = errLiveDeleted(err)
	case errors.Is(err, objects.ErrChanged), errors.Is(err, transfer.ErrDamaged):
		err = &builder.ContentError{Cause: err}
	}
	return path, err
}

func (m *merge) downloadLive(ctx context.Context, out folder, f transfer.File, path string) error {
	r, err := out.store.Open(ctx, out.prefix+f.Name)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := builder.CheckSpace(m.temp, r.Size()); err != nil {
		return err
	}
	h := sha256.New()
	if err := download(ctx, r, path, h); err != nil {
		return err
	}
	if sum := hex.EncodeToString(h.Sum(nil)); sum != f.SHA256 {
		return fmt.Errorf("%s: %w: SHA-256 %s, want %s", out.url(f.Name), transfer.ErrDamaged, sum, f.SHA256)
	}
	return nil
}
