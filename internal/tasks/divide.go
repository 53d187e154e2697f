package tasks

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"promostore/builder"
	"promostore/internal/objects"
)

// DefaultSplitSize is the size of splits in bytes. A plan that would have more than
// MaxSplits of them has larger ones.
const DefaultSplitSize = 1 << 30

// divide divides inputs of these sizes into splits of about size bytes. An input
// that is larger is cut into parts of the same size, if it can be cut, and is
// otherwise a split of its own. Consecutive smaller ones are grouped, because a
// build reads several compressed inputs at the same time. ok is false if there
// would be more than MaxSplits.
func divide(sizes []int64, cut []bool, size int64) (splits [][]Range, ok bool) {
	var group []Range
	var grouped int64 // bytes of group
	flush := func() {
		if len(group) > 0 {
			splits = append(splits, group)
		}
		group, grouped = nil, 0
	}
	for i, n := range sizes {
		whole := Range{Input: i, To: n}
		if n > size && cut[i] {
			flush()
			parts := (n-1)/size + 1
			if parts > MaxSplits {
				return nil, false
			}
			part := (n-1)/parts + 1
			for rest := n; rest > 0; rest -= min(rest, part) {
				from := n - rest
				splits = append(splits, []Range{{i, from, from + min(rest, part)}})
			}
			continue
		}
		if n > size-grouped {
			flush()
		}
		group = append(group, whole)
		grouped += n
		if len(splits) >= MaxSplits {
			return nil, false
		}
	}
	flush()
	return splits, len(splits) <= MaxSplits
}

// divideInputs divides the inputs into splits. size is that of MakeOptions.
func (m *maker) divideInputs(ctx context.Context) error {
	size := m.SplitSize
	if size == 0 {
		size = DefaultSplitSize
	}
	cut, err := m.cuttable(ctx, size)
	if err != nil {
		return err
	}
	sizes := make([]int64, len(m.Inputs))
	for i, in := range m.Inputs {
		sizes[i] = in.Object.Size
	}
	for {
		splits, ok := divide(sizes, cut, size)
		if ok {
			m.plan.Splits = splits
			return nil
		}
		if m.SplitSize != 0 {
			return permanent(fmt.Errorf("more than %d splits of %d bytes; use larger splits", MaxSplits, size))
		}
		size *= 2
	}
}

// cuttable reports for each input larger than size whether it is not compressed, so
// that it can be cut. It reads the start of each.
func (m *maker) cuttable(ctx context.Context, size int64) ([]bool, error) {
	cut := make([]bool, len(m.Inputs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i, in := range m.Inputs {
		if in.Object.Size <= size {
			continue
		}
		g.Go(func() error {
			compressed, err := in.isCompressed(ctx)
			cut[i] = !compressed
			return err
		})
	}
	return cut, g.Wait()
}

// isCompressed reports whether the object begins like compressed data.
func (s Source) isCompressed(ctx context.Context) (bool, error) {
	url := s.Store.URL(s.Object.Key)
	r, err := s.Store.Open(ctx, s.Object.Key)
	if err != nil {
		return false, err
	}
	defer r.Close()
	if r.ETag() != s.Object.ETag {
		return false, fmt.Errorf("%s: %w", url, objects.ErrChanged)
	}
	start := make([]byte, min(r.Size(), builder.StartLen))
	if _, err := r.ReadAt(start, 0); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	compressed, err := builder.CheckStart(start)
	if err != nil {
		return false, fmt.Errorf("%s: %w", url, err)
	}
	return compressed, nil
}
