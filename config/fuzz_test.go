package config_test

import (
	"io/fs"
	"testing/fstest"

	"attune/config"
)

// oneCampaign is a workspace with one campaign file of any content.
type oneCampaign struct{ root, data []byte }

func (o oneCampaign) files() fs.FS {
	return fstest.MapFS{
		config.WorkspaceFile:              {Data: o.root},
		"campaigns/cart-abandonment.yaml": {Data: o.data},
		"templates/cart.html":             {Data: []byte("x")},
		"segments/vip.yaml":               {Data: []byte("id: vip\nwhen: customer.orders > 1\n")},
	}
}
