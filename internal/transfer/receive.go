package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/dustin/go-humanize"
	"golang.org/x/sync/errgroup"

	"promostore/format/generation"
	"promostore/internal/fsx"
)

// refusedSuffix follows the name of a file whose object has another checksum. The
// refusal holds the ETag of the object, so that the next pull does not receive it
// again.
const refusedSuffix = ".refused"

// receive copies files to the incoming directory, durably, and compares their
// checksums. It continues those that an earlier pull began.
func (p *pull) receive(ctx context.Context, id generation.ID, files []File) error {
	if err := p.checkSpace(id, files); err != nil {
		return err
	}
	m := p.Progress.meter(id, files)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(filesAtOnce)
	for _, f := range files {
		g.Go(func() error { return p.receiveFile(ctx, f, m) })
	}
	err := g.Wait()
	p.result.Bytes += m.moved
	return err
}

// checkSpace returns an error that wraps syscall.ENOSPC if the disk has no room for
// the rest of the files.
func (p *pull) checkSpace(id generation.ID, files []File) error {
	need := sizeOf(files)
	for _, f := range files {
		if info, err := os.Stat(filepath.Join(p.incoming, f.Name)); err == nil {
			need -= min(info.Size(), f.Size)
		}
	}
	free, err := fsx.Free(p.incoming)
	if err == nil && free < need {
		err = fmt.Errorf("%s: generation %s needs %s, %s free: %w", p.dir, id, humanize.IBytes(uint64(need)), humanize.IBytes(uint64(free)), syscall.ENOSPC)
	}
	return err
}

func (p *pull) receiveFile(ctx context.Context, f File, m *meter) error {
	w, err := os.OpenFile(filepath.Join(p.incoming, f.Name), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer w.Close()
	// The part that is here counts as received if the checksum of the whole file
	// is right. Otherwise it may be of another object.
	h := sha256.New()
	off, err := io.Copy(h, &cancelReader{ctx, io.NewSectionReader(w, 0, f.Size)})
	if err != nil {
		return err
	}
	m.skip(off)
	sum, err := p.append(ctx, w, h, f, off, m)
	if err == nil && sum != f.SHA256 && off > 0 {
		m.skip(-off)
		h.Reset()
		sum, err = p.append(ctx, w, h, f, 0, m)
	}
	if err != nil {
		return err
	}
	if sum != f.SHA256 {
		return fmt.Errorf("%s: %w: SHA-256 %s, want %s", p.url(f.Name), ErrDamaged, sum, f.SHA256)
	}
	if err := w.Sync(); err != nil {
		return err
	}
	return w.Close()
}

// append receives the object of f from off to its end, appends it to w and h, and
// returns the checksum. If the checksum is wrong although off is 0, it removes w
// and remembers the object.
func (p *pull) append(ctx context.Context, w *os.File, h hash.Hash, f File, off int64, m *meter) (sum string, err error) {
	if err := w.Truncate(off); err != nil {
		return "", err
	}
	if off == f.Size {
		return hex.EncodeToString(h.Sum(nil)), nil
	}
	r, err := p.open(ctx, f.Name)
	if err != nil {
		return "", err
	}
	defer r.Close()
	refused := filepath.Join(p.incoming, f.Name+refusedSuffix)
	if etag, err := os.ReadFile(refused); err == nil && string(etag) == r.ETag()+f.SHA256 {
		return "", fmt.Errorf("%s: %w: its SHA-256 was wrong in an earlier pull; delete the object and push the generation again", p.url(f.Name), ErrDamaged)
	}
	if r.Size() != f.Size {
		return "", fmt.Errorf("%s: %w: %d bytes, want %d", p.url(f.Name), ErrDamaged, r.Size(), f.Size)
	}
	body := r.Stream(ctx, off, r.Size(), partsAtOnce, partLen)
	defer body.Close()
	if _, err := w.Seek(off, io.SeekStart); err != nil {
		return "", err
	}
	if _, err := io.Copy(io.MultiWriter(w, h, m), body); err != nil {
		return "", err
	}
	sum = hex.EncodeToString(h.Sum(nil))
	if sum == f.SHA256 {
		err = removeIfThere(refused)
	} else if off == 0 {
		err = errors.Join(os.WriteFile(refused, []byte(r.ETag()+f.SHA256), 0o644), os.Remove(w.Name()))
	}
	return sum, err
}

func removeIfThere(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
