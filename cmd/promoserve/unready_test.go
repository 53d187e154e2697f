package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"promostore/format/generation"
)

// A server without a generation tells the reason at the start, in /readyz and in
// /status, and becomes ready without a restart.
func TestServerTellsWhyNoGenerationIsLive(t *testing.T) {
	bad := generation.Name{ID: generation.IDOf(time.Now().Add(-time.Minute)), Shards: 1}
	for name, c := range map[string]struct {
		prepare func(dir string) error
		repair  func(dir string) error // may be nil
		want    string
	}{
		"empty":   {func(dir string) error { return os.Mkdir(dir, 0o755) }, nil, "no generation yet"},
		"missing": {func(string) error { return nil }, nil, "no generation yet: the directory does not exist"},
		"link to nothing": {
			func(dir string) error { return os.Symlink(dir+".target", dir) },
			func(dir string) error { return os.Mkdir(dir+".target", 0o755) },
			"no generation yet: the directory is a symbolic link to nothing",
		},
		"unreadable": {
			func(dir string) error { return os.Symlink(dir, dir) },
			os.Remove,
			"no generation: the directory cannot be read: too many levels of symbolic links",
		},
		"refused only": {
			func(dir string) error {
				if err := os.Mkdir(dir, 0o755); err != nil {
					return err
				}
				older := generation.Name{ID: bad.ID - 1, Shards: 1}
				if err := os.WriteFile(filepath.Join(dir, older.String()), nil, 0o600); err != nil {
					return err
				}
				return os.WriteFile(filepath.Join(dir, bad.String()), []byte("PROMOXXX"), 0o600)
			},
			nil,
			"no servable generation: the newest of 2 refused: " + bad.ID.String() + ": not a generation file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			must(t, c.prepare(s.dir))
			s.start(t, "--drain", "0s")
			line := s.await(t, "no generation is live")
			if line["level"] != "WARN" || line["error"] != c.want || line["data"] != s.dir {
				t.Errorf("log: %v, want a warning: %s", line, c.want)
			}
			reason, err := json.Marshal(c.want)
			must(t, err)
			s.want(t, "http", "/readyz", 503, fmt.Sprintf(`{"error":%s}`, reason))
			s.want(t, "http", "/promotions/"+exampleID, 503, `{"error":"no generation is live"}`)
			if got := s.status(t)["problem"]; got != c.want {
				t.Errorf("/status: problem %q, want %q", got, c.want)
			}
			if c.repair != nil {
				must(t, c.repair(s.dir))
			}
			s.build(t, "9.68")
			s.await(t, "generation live")
			s.want(t, "http", "/readyz", 200, `{"status":"ready"}`)
			if got, found := s.status(t)["problem"]; found {
				t.Errorf("/status: problem %q", got)
			}
		})
	}
}

// A directory that becomes unreadable, is replaced or is removed is reported
// while the live generation is served on.
func TestServerTellsOfLostDirectory(t *testing.T) {
	s := start(t, "--drain", "0s")
	s.build(t, "9.68")
	id := s.await(t, "generation live")["generation"]
	served := func(problem any, deleted any) {
		t.Helper()
		s.want(t, "http", "/readyz", 200, `{"status":"ready"}`)
		s.want(t, "http", "/promotions/"+exampleID, 200, fmt.Sprintf(exampleJSON, "9.68"))
		if st := s.status(t); st["live"] != id || st["problem"] != problem || st["deleted"] != deleted {
			t.Errorf("/status: %v, want live %v, problem %v, deleted %v", st, id, problem, deleted)
		}
	}
	served(nil, nil)
	away := s.dir + ".away"

	must(t, os.Rename(s.dir, away))
	must(t, os.WriteFile(s.dir, nil, 0o600)) // a poll in between sees no directory
	line := s.await(t, "directory cannot be read")
	if line["level"] != "ERROR" || !strings.Contains(line["error"].(string), "not a directory") {
		t.Errorf("log: %v", line)
	}
	if st := s.status(t); st["problem"] != "the directory cannot be read: not a directory" {
		t.Errorf("/status: %v", st)
	}
	must(t, os.Remove(s.dir))
	must(t, os.Rename(away, s.dir))
	s.await(t, "directory can be read again")

	must(t, os.Mkdir(away, 0o755))
	swap(t, s.dir, away)
	line = s.await(t, "generation file deleted, it remains live")
	if line["level"] != "ERROR" || line["generation"] != id {
		t.Errorf("log: %v", line)
	}
	served(nil, true)
	if text := s.metrics(t); !strings.Contains(text, "\npromoserve_generation_deleted 1\n") || strings.Contains(text, "promoserve_generation_deletions_total 0") {
		t.Errorf("the deletion is not counted:\n%s", text)
	}
	swap(t, s.dir, away)
	s.await(t, "generation file is there again")
	served(nil, nil)
	must(t, os.Rename(s.dir, s.dir+".gone"))
	s.await(t, "generation file deleted, it remains live")
	served("the directory does not exist", true)

	s.build(t, "1.00")
	s.await(t, "generation live")
	if st := s.status(t); st["deleted"] != nil || st["problem"] != nil {
		t.Errorf("/status: %v", st)
	}
}
