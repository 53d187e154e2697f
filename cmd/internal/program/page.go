package program

import "github.com/urfave/cli/v2"

// PageFlag returns the flag of the servers that have a page.
func PageFlag() cli.Flag {
	return &cli.StringFlag{Name: "page", Value: "on", Usage: "serve the page at /, and answer requests about the generations and the history of promotions: `on|off`"}
}
