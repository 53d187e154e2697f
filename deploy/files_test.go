package deploy

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// runbook is the page with a section for each alert.
const runbook = "../docs/runbook.md"

var flagName = regexp.MustCompile(`--[a-z-]+`)

// adminListener is the address of the admin listener in the runbook.
const adminListener = "127.0.0.1:1323"

// TestAdminListener checks that every file that starts promoserve enables the
// admin listener at the address that the runbook asks.
func TestAdminListener(t *testing.T) {
	for path, want := range map[string]string{
		composeFile:                  `--admin-listen, "` + adminListener + `"`,
		serverFile:                   `--admin-listen, "` + adminListener + `"`,
		"systemd/promoserve.service": "\nEnvironment=PROMO_ADMIN_LISTEN=" + adminListener + "\n",
		runbook:                      "curl http://" + adminListener + "/status",
	} {
		if !strings.Contains(readFile(t, path), want) {
			t.Errorf("%s does not contain %q", path, want)
		}
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
