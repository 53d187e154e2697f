package updater

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// maxUploads is the number of uploads whose results are kept. One with bad rows
// takes up to 20 KiB.
const maxUploads = 100

// respondAsync is the preference of a client that does not wait for the build
// (RFC 7240).
const respondAsync = "respond-async"

var errUnknownUpload = fmt.Errorf("no such upload: the updater keeps the results of the latest %d, and none over a restart", maxUploads)

// An upload is a data set that a client sends, and its result.
type upload struct {
	id       string
	content  content
	received chan struct{} // closed when the whole body has arrived
	done     chan struct{} // closed after the build, when the fields below are final

	result *result // nil: err
	err    error
}

func newUpload(c content) *upload {
	return &upload{id: rand.Text(), content: c, received: make(chan struct{}), done: make(chan struct{})}
}

// finish records the result of the build.
func (u *upload) finish(r *result, err error) {
	u.result, u.err = r, err
	close(u.done)
}

// hasArrived waits until the whole body has arrived, or the build has ended
// without it. It reports whether the body has arrived.
func (u *upload) hasArrived() bool {
	select {
	case <-u.received:
		return true
	case <-u.done:
	}
	return isClosed(u.received)
}

// path returns the path of the result.
func (u *upload) path() string { return "/uploads/" + u.id }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// uploads keeps the latest uploads. Safe for concurrent use.
type uploads struct {
	mu   sync.Mutex // guards list
	list []*upload  // oldest first
}

// add adds u, and forgets the oldest upload if there are too many. The oldest
// has ended, because one build runs at a time.
func (l *uploads) add(u *upload) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, u)
	l.list = l.list[max(0, len(l.list)-maxUploads):]
}

// find returns the upload with the given ID.
func (l *uploads) find(id string) (u *upload, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, u := range l.list {
		if u.id == id {
			return u, true
		}
	}
	return nil, false
}

// States of an upload.
const (
	stateReceiving = "receiving" // the body
	stateBuilding  = "building"  // the whole body has arrived
	statePublished = "published"
	stateFailed    = "failed" // nothing was published
)

// uploadStatus is the JSON body of GET /uploads/ID, and of the answer 202.
type uploadStatus struct {
	Upload   string    `json:"upload"` // ID
	State    string    `json:"state"`
	Building *progress `json:"building,omitempty"` // of the build that is running
	Status   int       `json:"status,omitempty"`   // status code of the answer to the upload
	Answer   any       `json:"answer,omitempty"`   // body of that answer
}

// result answers with the state of an upload and, after the build, with its
// result. The result is the answer to a client that waits.
func (s *Server) result(w http.ResponseWriter, r *http.Request) {
	if err := s.auth.check(r); err != nil {
		s.refusals.refuse(r, err)
		s.reject(w, err, nil)
		return
	}
	u, ok := s.uploads.find(r.PathValue("ID"))
	if !ok {
		reply(w, http.StatusNotFound, problem{Error: errUnknownUpload.Error()})
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	reply(w, http.StatusOK, s.describe(u))
}

// describe returns the state of u, and its result after the build.
func (s *Server) describe(u *upload) uploadStatus {
	st := uploadStatus{Upload: u.id}
	switch {
	case !isClosed(u.done):
		st.State = stateReceiving
		if isClosed(u.received) {
			st.State = stateBuilding
		}
		if p, ok := s.pipeline.builds.current(); ok && p.Upload == u.id {
			st.Building = &p
		}
	case u.err == nil:
		st.State, st.Status, st.Answer = statePublished, http.StatusCreated, uploadedOf(u)
	default:
		st.State = stateFailed
		st.Status, st.Answer = s.problemOf(u.err, u)
	}
	return st
}

// prefersAsync reports whether header asks for an answer before the build ends.
func prefersAsync(header http.Header) bool {
	for _, value := range header.Values("Prefer") {
		for preference := range strings.SplitSeq(value, ",") {
			name, _, _ := strings.Cut(preference, ";")
			if strings.EqualFold(strings.TrimSpace(name), respondAsync) {
				return true
			}
		}
	}
	return false
}
