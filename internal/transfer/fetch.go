package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/fsx"
	"promostore/internal/objects"
)

// sweep removes the arriving files of generations that are no longer wanted, which
// an earlier pull began. Wanted are the pinned one and the first ones of order;
// those with a refused file have substitutes.
func (p *pull) sweep(order []generation.ID) error {
	entries, err := os.ReadDir(p.incoming)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	names := map[string]generation.ID{} // of entries
	refused := map[generation.ID]bool{}
	for _, e := range entries {
		text, isRefusal := strings.CutSuffix(e.Name(), refusedSuffix)
		if name, err := generation.ParseName(text); err == nil {
			names[e.Name()] = name.ID
			refused[name.ID] = refused[name.ID] || isRefusal
		}
	}
	wanted := map[generation.ID]bool{}
	if p.pin.Active {
		wanted[p.pin.ID] = true
	}
	for n := 0; len(order) > 0 && n < p.Keep; order = order[1:] {
		wanted[order[0]] = true
		if !refused[order[0]] {
			n++
		}
	}
	for _, e := range entries {
		if id, found := names[e.Name()]; !found || !wanted[id] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(p.incoming, e.Name())))
		}
	}
	return err
}

// try copies a generation unless it is here. It passes over a generation that is
// incomplete or damaged. Any other error ends the pull.
func (p *pull) try(ctx context.Context, id generation.ID) error {
	arrived, err := p.fetch(ctx, id)
	switch {
	case err == nil:
		p.result.Wanted = append(p.result.Wanted, id)
		if arrived {
			p.result.New = append(p.result.New, id)
		}
		return nil
	case errors.Is(err, objects.ErrNotFound), errors.Is(err, generation.ErrIncomplete):
	case errors.Is(err, objects.ErrChanged) && p.isGone(ctx, id):
		err = fmt.Errorf("%s: removed during the transfer: %w", p.url(manifestName(id)), objects.ErrNotFound)
	case errors.Is(err, ErrDamaged), errors.Is(err, ErrManifest),
		errors.Is(err, objects.ErrChanged), errors.Is(err, format.ErrVersion):
		p.damage = append(p.damage, err)
	default:
		return err
	}
	p.result.PassedOver = append(p.result.PassedOver, PassedOver{id, err})
	return nil
}

// isGone reports whether Prune has removed a generation.
func (p *pull) isGone(ctx context.Context, id generation.ID) bool {
	_, err := p.readManifest(ctx, id)
	return errors.Is(err, objects.ErrNotFound)
}

// fetch copies a generation unless it is here.
func (p *pull) fetch(ctx context.Context, id generation.ID) (arrived bool, err error) {
	m, err := p.readManifest(ctx, id)
	if err != nil {
		return false, err
	}
	files := m.owned(p.Digits)
	needed := slices.DeleteFunc(slices.Clone(files), p.isHere)
	if len(needed) == 0 {
		return false, nil
	}
	if len(needed) < len(files) { // one of those that are here may be damaged
		needed = slices.DeleteFunc(slices.Clone(files), func(f File) bool { return p.isGood(ctx, f) })
	}
	if len(needed) == 0 {
		return false, nil
	}
	if missing := p.have.missing(needed); len(missing) > 0 {
		return false, fmt.Errorf("%s: %w: %d of %d objects are missing or have another size, such as %s",
			p.url(manifestName(id)), generation.ErrIncomplete, len(missing), len(needed), missing[0].Name)
	}
	if err := os.MkdirAll(p.incoming, 0o755); err != nil {
		return false, err
	}
	if err := p.receive(ctx, id, needed); err != nil {
		return false, err
	}
	if err := p.verify(ctx, m, files, needed); err != nil {
		return false, err
	}
	// A generation that was rolled back during the transfer never becomes live.
	if err := p.pullPin(ctx); err != nil {
		return false, err
	}
	p.pullSummary(ctx, id)
	return true, p.publish(needed)
}

// isHere reports whether the directory has f. Like rsync, it does not read it.
func (p *pull) isHere(f File) bool {
	info, err := os.Lstat(filepath.Join(p.dir, f.Name))
	return err == nil && info.Mode().IsRegular() && info.Size() == f.Size
}

// isGood reports whether the directory has f with its checksum.
func (p *pull) isGood(ctx context.Context, f File) bool {
	r, err := fsx.OpenRegular(filepath.Join(p.dir, f.Name))
	if err != nil {
		return false
	}
	defer r.Close()
	sum, _, err := Checksum(ctx, r)
	return err == nil && sum == f.SHA256
}

// verify checks the generation of files, of which arrived are in the incoming
// directory.
func (p *pull) verify(ctx context.Context, m Manifest, files, arrived []File) error {
	g := generation.Generation{ID: m.id, Shards: m.Shards}
	for _, f := range files {
		dir := p.dir
		if slices.Contains(arrived, f) {
			dir = p.incoming
		}
		g.Files = append(g.Files, filepath.Join(dir, f.Name))
	}
	set, err := g.OpenSet(p.Digits)
	if err == nil {
		if err = m.checkSet(set); err == nil {
			err = set.Verify(ctx, runtime.GOMAXPROCS(0), nil)
		}
		set.Close()
	}
	var errno syscall.Errno
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case fsx.IsTooManyOpen(err):
		return fmt.Errorf("%w; each shard needs an open file: raise the limit, ulimit -n", err)
	case errors.As(err, &errno): // of the disk here
		return err
	case errors.Is(err, format.ErrVersion):
		return fmt.Errorf("%s: %w; upgrade promobuild and promoserve on this node", p.url(manifestName(m.id)), err)
	}
	return fmt.Errorf("%s: %w: %w", p.url(manifestName(m.id)), ErrDamaged, err)
}

// publish gives files that have arrived their names, durably. If they replace
// others, the generation lacks its first file meanwhile, so that no server sees a
// mixture.
func (p *pull) publish(files []File) error {
	path := func(f File) string { return filepath.Join(p.dir, f.Name) }
	if len(files) > 1 {
		if err := os.Remove(path(files[0])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, f := range slices.Backward(files) {
		if err := os.Rename(filepath.Join(p.incoming, f.Name), path(f)); err != nil {
			return err
		}
	}
	return fsx.SyncDir(p.dir)
}
