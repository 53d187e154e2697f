package serving

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"promostore/bench/contest"
	"promostore/bench/load"
)

// A Server is one of the rivals, or ours, that runs.
type Server struct {
	*server
	tb testing.TB
}

// StartAll starts ours, and every rival. It fails if one is not installed.
func StartAll(tb testing.TB, env *contest.Env) (ours Server, rivals map[string]Server) {
	tb.Helper()
	keep := func(s *server, err error) Server {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			if err := s.stop(); err != nil {
				tb.Error(err)
			}
		})
		return Server{s, tb}
	}
	ours = keep(oursOver(tb.Context(), env, env.Rows))
	rivals = map[string]Server{}
	for i := range list {
		r := &list[i]
		if why := missing(r.debian, r.programs...); why != "" {
			tb.Fatal(why)
		}
		rivals[r.name] = keep(r.start(tb.Context(), env, ours.server, env.Rows))
	}
	return ours, rivals
}

var list = rivals

// Constant reports whether the server has every id.
func (s Server) Constant() bool { return s.constant }

// Get is status and body of the answer for an id.
func (s Server) Get(id string) (status int, body string) {
	s.tb.Helper()
	status, body, err := s.ask(s.tb.Context(), id)
	if err != nil {
		s.tb.Fatalf("%s: %v", s.name, err)
	}
	return status, body
}

// AnswerLen is the length of the answer for the first row of the table.
func (s Server) AnswerLen() int {
	s.tb.Helper()
	n, err := s.answerLen(s.tb.Context(), promotionPath(0))
	if err != nil {
		s.tb.Fatalf("%s: %v", s.name, err)
	}
	return n
}

func (s Server) ask(ctx context.Context, id string) (int, string, error) {
	if s.kind == load.Redis {
		return s.askRedis(id)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/promotions/"+id, nil)
	if err != nil {
		return 0, "", err
	}
	res, err := client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

func (s Server) askRedis(id string) (int, string, error) {
	c, err := net.Dial("tcp", s.addr)
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

// SwapTurn is one turn of load with new generations, and how many went live.
func SwapTurn(tb testing.TB, env *contest.Env) (swapped, wanted int, r load.Result) {
	tb.Helper()
	program, err := load.Build(tb.Context(), env.Bin)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := newSwaps(tb.Context(), env, env.Rows)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		if err := s.stop(); err != nil {
			tb.Error(err)
		}
	}()
	r, n, err := s.turn(tb.Context(), &driver{program, env.Rows}, true)
	if err != nil {
		tb.Fatal(err)
	}
	return int(n), swapsPerTurn, r
}
