package serving

import (
	"context"
	"testing"

	"promostore/bench/contest"
	"promostore/bench/load"
)

// A Server is one of the rivals, or ours, that runs.
type Server struct {
	*server
	tb testing.TB
}

// StartOurs starts ours.
func StartOurs(tb testing.TB, env *contest.Env) Server {
	tb.Helper()
	return keep(tb)(oursOver(tb.Context(), env, env.Rows))
}

// keep stops a server at the end.
func keep(tb testing.TB) func(s *server, err error) Server {
	return func(s *server, err error) Server {
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
}

// StartAll starts ours, and every rival. It fails if one is not installed.
func StartAll(tb testing.TB, env *contest.Env) (ours Server, rivals map[string]Server) {
	tb.Helper()
	ours = StartOurs(tb, env)
	rivals = map[string]Server{}
	for i := range list {
		r := &list[i]
		if err := r.missing(); err != nil {
			tb.Fatal(err)
		}
		rivals[r.name] = keep(tb)(r.start(tb.Context(), env, ours.server, env.Rows))
	}
	return ours, rivals
}

// Check checks a server at addr against s.
func (s Server) Check(addr string, rows int64) error {
	other := &server{name: "other", addr: addr, kind: load.Get}
	return other.check(s.tb.Context(), s.server, rows)
}

// Figures are those without a rival, but for the slow ones.
func Figures(tb testing.TB, env *contest.Env, report func(contest.Result)) {
	tb.Helper()
	program, err := load.Build(tb.Context(), env.Bin)
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range []func(context.Context, *contest.Env, load.Program, func(contest.Result)) error{runAllocs, runProcessors} {
		if err := f(tb.Context(), env, program, report); err != nil {
			tb.Error(err)
		}
	}
}

var list = rivals

// RedisThreads is the io-threads of Redis for so many processors.
func RedisThreads(processors int) int { return redisThreads(processors) }

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
