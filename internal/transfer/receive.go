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
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sync/errgroup"

	"promostore/format/generation"
	"promostore/internal/fsx"
)

// refusedSuffix follows the name of a file whose object has another checksum. The
// refusal holds the ETag of the object, so that the next pulls do not receive it
// again until it expires.
const (
	refusedSuffix = ".refused"
	refusalAge    = time.Hour
	maxStarts     = 2 // of one object in a pull, from its first byte, before it is refused
)

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
	starts := 0
	if off == 0 {
		starts++
	}
	sum, etag, err := p.append(ctx, w, h, f, off, m)
	for err == nil && sum != f.SHA256 && starts < maxStarts {
		starts++
		m.skip(-f.Size)
		h.Reset()
		sum, etag, err = p.append(ctx, w, h, f, 0, m)
	}
	if err != nil {
		return err
	}
	if sum != f.SHA256 {
		err := fmt.Errorf("%s: %w: SHA-256 %s, want %s", p.url(f.Name), ErrDamaged, sum, f.SHA256)
		return errors.Join(err, os.WriteFile(p.refusal(f), []byte(etag+f.SHA256), 0o644), os.Remove(w.Name()))
	}
	if err := errors.Join(removeIfThere(p.refusal(f)), w.Sync()); err != nil {
		return err
	}
	return w.Close()
}

// append receives the object of f from off to its end and appends it to w and h. It
// returns the checksum of the file and the ETag of the object, unless nothing was
// missing.
func (p *pull) append(ctx context.Context, w *os.File, h hash.Hash, f File, off int64, m *meter) (sum, etag string, err error) {
	if err := w.Truncate(off); err != nil {
		return "", "", err
	}
	if off == f.Size {
		return hex.EncodeToString(h.Sum(nil)), "", nil
	}
	r, err := p.open(ctx, f.Name)
	if err != nil {
		return "", "", err
	}
	defer r.Close()
	if p.isRefused(f, r.ETag()) {
		return "", "", fmt.Errorf("%s: %w: its SHA-256 was wrong in a pull less than an hour ago; delete the object and push the generation again", p.url(f.Name), ErrDamaged)
	}
	if r.Size() != f.Size {
		return "", "", fmt.Errorf("%s: %w: %d bytes, want %d", p.url(f.Name), ErrDamaged, r.Size(), f.Size)
	}
	body := r.Stream(ctx, off, r.Size(), partsAtOnce, partLen)
	defer body.Close()
	if _, err := w.Seek(off, io.SeekStart); err != nil {
		return "", "", err
	}
	if _, err := io.Copy(io.MultiWriter(w, h, m), body); err != nil {
		return "", "", err
	}
	return hex.EncodeToString(h.Sum(nil)), r.ETag(), nil
}

func (p *pull) refusal(f File) string { return filepath.Join(p.incoming, f.Name+refusedSuffix) }

// isRefused reports whether the object of f had a wrong checksum lately.
func (p *pull) isRefused(f File, etag string) bool {
	text, err := os.ReadFile(p.refusal(f))
	if err != nil || string(text) != etag+f.SHA256 {
		return false
	}
	info, err := os.Stat(p.refusal(f))
	if err != nil {
		return false
	}
	age := time.Since(info.ModTime()) // negative if the clock was changed
	return age >= 0 && age < refusalAge
}

func removeIfThere(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
