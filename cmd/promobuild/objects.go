package main

import (
	"github.com/urfave/cli/v2"

	"promostore/internal/objects"
)

// objectFlags returns the flags of commands that access s3:// URLs.
func objectFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "s3-endpoint", EnvVars: []string{"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"},
			Usage: "access s3:// URLs at `URL`, such as https://minio.example:9000", DefaultText: "AWS"},
		&cli.StringFlag{Name: "s3-region", EnvVars: []string{"AWS_REGION", "AWS_DEFAULT_REGION"},
			Usage: "sign requests for the region `NAME`", DefaultText: "that of the bucket"},
	}
}

// objectOptions returns the options that the flags of objectFlags select.
func objectOptions(c *cli.Context) objects.Options {
	return objects.Options{Endpoint: c.String("s3-endpoint"), Region: c.String("s3-region")}
}
