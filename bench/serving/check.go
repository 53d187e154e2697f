package serving

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"promostore/bench/load"
	"promostore/bench/serving/answer"
	"promostore/internal/synth"
)

// checks is how many ids that are there are asked for, and as many that are
// not, before a server is measured.
const checks = 50

// check reports whether s answers for a table of so many rows as ours does, or
// all alike if it is a constant: an id that is there with the same body, one
// that is not there with 404. The load itself looks at the status of every
// answer.
func (s *server) check(ctx context.Context, ours *server, rows int64) error {
	keys := synth.Keys{Kind: synth.KeysV4}
	for i := range min(checks, uint64(rows)) {
		id := keys.At(i * uint64(rows) / checks).String()
		if s.constant {
			id = keys.At(0).String()
		}
		wantStatus, want, err := ours.ask(ctx, id)
		if err != nil {
			return err
		}
		status, body, err := s.ask(ctx, id)
		if err != nil {
			return err
		}
		if wantStatus != http.StatusOK || status != wantStatus || body != want {
			return fmt.Errorf("%s: %s: %d %s, promoserve has %d %s", s.name, id, status, body, wantStatus, want)
		}
		var row struct{ ID string }
		if err := json.Unmarshal([]byte(body), &row); err != nil || row.ID != id {
			return fmt.Errorf("%s: %s: answer %s: %w", s.name, id, body, err)
		}
		if s.constant {
			continue
		}
		absent := keys.At(uint64(rows) + i).String()
		if status, body, err = s.ask(ctx, absent); err != nil {
			return err
		}
		if status != http.StatusNotFound || s.kind == load.Get && body != answer.NotFound {
			return fmt.Errorf("%s: %s, which is not there: %d %s", s.name, absent, status, body)
		}
	}
	return nil
}

// ask is status and body of the answer for an id.
func (s *server) ask(ctx context.Context, id string) (int, string, error) {
	if s.kind == load.Redis {
		return s.askRedis(ctx, id)
	}
	res, body, err := s.do(ctx, "/promotions/"+id)
	if err != nil {
		return 0, "", err
	}
	return res.StatusCode, body, nil
}

func (s *server) askRedis(ctx context.Context, id string) (int, string, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return 0, "", err
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n", len(id), id); err != nil {
		return 0, "", err
	}
	r := bufio.NewReader(c)
	head, err := r.ReadString('\n')
	if err != nil {
		return 0, "", err
	}
	if head == "$-1\r\n" {
		return http.StatusNotFound, "", nil
	}
	n, err := strconv.Atoi(strings.Trim(head, "$\r\n"))
	if err != nil {
		return 0, "", errors.Join(fmt.Errorf("%q", head), err)
	}
	body := make([]byte, n)
	_, err = io.ReadFull(r, body)
	return http.StatusOK, string(body), err
}
