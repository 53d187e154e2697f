package deploy

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"promostore/internal/progtest"
)

var (
	execStart = regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/(.*)$`)
	stopTime  = regexp.MustCompile(`(?m)^TimeoutStopSec=(.*)$`)
	variable  = regexp.MustCompile(`PROMO_[A-Z_]+`)
)

// TestPullUnitFlags checks that promobuild pull has the flags and variables of its
// unit.
func TestPullUnitFlags(t *testing.T) {
	text := readFile(t, "systemd/promo-pull-s3.service")
	help := progtest.Observe(t).Help(t, "promobuild pull")
	command := execStart.FindStringSubmatch(text)
	if command == nil || !strings.HasPrefix(command[1], "promobuild pull ") {
		t.Fatalf("the unit starts %q", command)
	}
	for _, f := range flagName.FindAllString(command[1], -1) {
		if !help.HasFlag(f) {
			t.Errorf("there is no flag %s", f)
		}
	}
	for _, v := range append(variable.FindAllString(text, -1), "AWS_REGION", "AWS_ENDPOINT_URL_S3") {
		if !strings.Contains(text, v+"=") || !regexp.MustCompile(`[\[ ]\$`+v+`[\],]`).MatchString(string(help)) {
			t.Errorf("there is no variable %s", v)
		}
	}
}

// TestUnitFlags checks that the programs have the flags and variables of the
// units, and that the time to stop is long enough.
func TestUnitFlags(t *testing.T) {
	p := progtest.Observe(t)
	for name, words := range map[string][]string{
		"promoserve.service":    {"promoserve"},
		"promo-updater.service": {"promobuild", "updater"},
	} {
		text := readFile(t, filepath.Join("systemd", name))
		command := execStart.FindStringSubmatch(text)
		if command == nil || !strings.HasPrefix(command[1]+" ", strings.Join(words, " ")+" ") {
			t.Errorf("%s starts %q, want %q", name, command, words)
			continue
		}
		help := p.Help(t, strings.Join(words, " "))
		for _, f := range flagName.FindAllString(command[1], -1) {
			if !help.HasFlag(f) {
				t.Errorf("%s: there is no flag %s", name, f)
			}
		}
		need := drainOf(t, nil, help) + inFlight(words[0])
		if m := stopTime.FindStringSubmatch(text); m == nil {
			t.Errorf("%s has no TimeoutStopSec", name)
		} else if have, err := time.ParseDuration(m[1]); err != nil || have <= need {
			t.Errorf("%s has %s to stop, but may need %v: %v", name, m[1], need, err)
		}
		list := variable.FindAllString(text, -1)
		if len(list) == 0 {
			t.Errorf("%s names no variables", name)
		}
		for _, v := range list {
			if !strings.Contains(string(help), "[$"+v+"]") {
				t.Errorf("%s: there is no variable %s", name, v)
			}
		}
	}
}
