package load

import (
	"math/rand/v2"
	"strconv"

	"promostore/format"
	"promostore/internal/synth"
)

// requests makes the requests of one client.
type requests struct {
	opts   *Options
	rng    *rand.Rand
	keys   synth.Keys
	front  []byte // what stands before the id
	back   []byte // and behind it
	bodies [][]byte
}

// numBatches is how many different batches a client prepares: half a million
// ids. Making a thousand of them for each request would be work of the client
// on the processors that the server needs.
const numBatches = 512

func newRequests(opts *Options, thread int) *requests {
	q := &requests{opts: opts, rng: rand.New(rand.NewPCG(uint64(thread), 1)), keys: synth.Keys{Kind: synth.KeysV4}}
	switch opts.Kind {
	case Redis:
		q.front, q.back = []byte("*2\r\n$3\r\nGET\r\n$36\r\n"), []byte("\r\n")
	case Lookup:
		for range numBatches {
			q.bodies = append(q.bodies, q.batch())
		}
	default:
		q.front, q.back = []byte("GET /promotions/"), []byte(" HTTP/1.1\r\nHost: "+opts.Addr+"\r\n\r\n")
	}
	return q
}

// next appends a request to dst, and tells the status that is the right answer.
func (q *requests) next(dst []byte) (request []byte, status int) {
	if q.opts.Kind == Lookup {
		return append(dst, q.bodies[q.rng.IntN(len(q.bodies))]...), statusFound
	}
	key, status := q.id()
	dst = append(dst, q.front...)
	dst = key.AppendText(dst, false)
	return append(dst, q.back...), status
}

// id is a random id, and the status of the right answer for it.
func (q *requests) id() (format.Key, int) {
	i := q.rng.Uint64N(uint64(q.opts.Rows))
	if q.opts.Misses > 0 && q.rng.Float64() < q.opts.Misses {
		status := statusMissing
		if q.opts.Constant {
			status = statusFound
		}
		return q.keys.At(uint64(q.opts.Rows) + i), status
	}
	return q.keys.At(i), statusFound
}

func (q *requests) batch() []byte {
	body := []byte(`{"ids":[`)
	for i := range BatchLen {
		if i > 0 {
			body = append(body, ',')
		}
		key, _ := q.id()
		body = append(key.AppendText(append(body, '"'), false), '"')
	}
	body = append(body, "]}"...)
	head := "POST /promotions/lookup HTTP/1.1\r\nHost: " + q.opts.Addr +
		"\r\nContent-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	return append([]byte(head), body...)
}
