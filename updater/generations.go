package updater

import (
	"net/http"

	"promostore/web"
)

// generations lists the generations of the directory, newest first, with the
// summaries of their builds.
func (s *Server) generations(w http.ResponseWriter, r *http.Request) {
	s.sendHistory(w, r, func(details bool) web.Answer { return s.history.Generations(r.Context(), details) })
}

// promotionHistory reports which promotion each generation has for an ID.
func (s *Server) promotionHistory(w http.ResponseWriter, r *http.Request) {
	s.sendHistory(w, r, func(details bool) web.Answer {
		return s.history.Promotion(r.Context(), []byte(r.PathValue("ID")), details)
	})
}

// diff compares two generations.
func (s *Server) diff(w http.ResponseWriter, r *http.Request) {
	s.sendHistory(w, r, func(details bool) web.Answer {
		return s.history.Diff(r.PathValue("FROM"), r.PathValue("TO"), r.URL.Query().Get("limit"), details)
	})
}

// sendHistory sends an answer about the generations, with details to clients that have the required credentials.
func (s *Server) sendHistory(w http.ResponseWriter, r *http.Request, answer func(details bool) web.Answer) {
	if details, ok := s.details(w, r); ok {
		answer(details).Write(w, r, answerTimeout)
	}
}
