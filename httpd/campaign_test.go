//go:build campaign

package httpd_test

import (
	"testing"
	"time"

	"promostore/internal/campaign"
	"promostore/reader"
)

// TestCampaignSwaps changes the generation as often as it can while 64
// connections send requests.
func TestCampaignSwaps(t *testing.T) {
	for _, access := range []reader.Access{reader.AccessMmap, reader.AccessPread} {
		t.Run(access.String(), func(t *testing.T) {
			began := time.Now()
			testSwapsUnderLoad(t, access, campaign.Amount(t, 697))
			t.Logf("in %v", time.Since(began).Round(time.Millisecond))
		})
	}
}
