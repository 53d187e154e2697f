package builder

import "context"

// A patient does reads or writes in a goroutine of its own, so that the end of
// a context ends the wait for one that is stuck. The memory of that one must
// then not be used again.
type patient struct {
	ctx context.Context
	req chan []byte
	res chan transfer
}

type transfer struct {
	n   int
	err error
}

// newPatient calls do, which is the Read or the Write of something, until ctx
// ends.
func newPatient(ctx context.Context, do func([]byte) (int, error)) *patient {
	p := &patient{ctx, make(chan []byte), make(chan transfer, 1)}
	go func() {
		for {
			select {
			case b := <-p.req:
				n, err := do(b)
				p.res <- transfer{n, err}
			case <-ctx.Done():
				return
			}
		}
	}()
	return p
}

func (p *patient) Read(b []byte) (int, error)  { return p.transfer(b) }
func (p *patient) Write(b []byte) (int, error) { return p.transfer(b) }

func (p *patient) transfer(b []byte) (int, error) {
	select {
	case p.req <- b:
	case <-p.ctx.Done():
		return 0, context.Cause(p.ctx)
	}
	select {
	case t := <-p.res:
		return t.n, t.err
	case <-p.ctx.Done():
		return 0, context.Cause(p.ctx)
	}
}
