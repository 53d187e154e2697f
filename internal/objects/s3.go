package objects

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
	"golang.org/x/sync/errgroup"
)

// awsEndpoint stands for the endpoints of all regions.
const awsEndpoint = "https://s3.amazonaws.com"

// An s3 is a Store of the objects of one bucket.
type s3 struct {
	bucket string
	core   *minio.Core
	region string
	chain  *chain
	creds  *credentials.Credentials // of chain
}

func newS3(bucket string, opts Options) (*s3, error) {
	if bucket == "" {
		return nil, errors.New("bucket is missing; use s3://BUCKET/PREFIX")
	}
	endpoint, err := parseEndpoint(cmp.Or(opts.Endpoint, awsEndpoint))
	if err != nil {
		return nil, err
	}
	if err := s3utils.CheckValidBucketName(bucket); err != nil {
		return nil, fmt.Errorf("bucket %q is not valid: %w", bucket, err)
	}
	s := &s3{bucket: bucket, region: opts.Region, chain: newChain()}
	if opts.Endpoint != "" {
		s.region = cmp.Or(s.region, "us-east-1") // most servers accept any
	}
	s.creds = credentials.New(s.chain)
	s.core, err = minio.NewCore(endpoint.Host, &minio.Options{
		Creds:      s.creds,
		Secure:     endpoint.Scheme == "https",
		Region:     s.region,
		Transport:  transport(),
		MaxRetries: 1, // retry repeats requests
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// parseEndpoint returns the URL of an endpoint. Its errors do not repeat a
// password.
func parseEndpoint(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, errors.New("endpoint is not a URL such as https://HOST or http://HOST:PORT")
	case u.User != nil:
		return nil, errors.New("endpoint contains a user name; credentials belong into the environment or ~/.aws/credentials")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("endpoint %s://%s... has more than a scheme, a host and a port", u.Scheme, u.Host)
	}
	return u, nil
}

// transport returns the connections that all stores share. A server has a minute
// to begin an answer, and to continue it. HTTP/2 is off: one connection for a part
// is faster.
var transport = sync.OnceValue(func() http.RoundTripper {
	return answers{&http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true, // an object with Content-Encoding: gzip is read as it is
	}}
})

func (s *s3) URL(key string) string {
	if key == "" {
		return scheme + s.bucket
	}
	return scheme + s.bucket + "/" + key
}

var pageLen int // keys of a page; 0: 1,000; variable for tests

// List continues after the last key if a page fails.
func (s *s3) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		last, listed, stopped, owner := "", 0, false, false
		err := s.retry(ctx, prefix, func(a *attempts) error {
			pages := new(pages)
			list := s.core.ListObjectsIter(context.WithValue(ctx, pagesKey{}, pages), s.bucket, minio.ListObjectsOptions{
				Prefix: prefix, Recursive: true, StartAfter: last, FetchOwner: &owner, MaxKeys: pageLen,
			})
			for info := range list {
				if info.Err != nil {
					return info.Err
				}
				if info.Key <= last || !strings.HasPrefix(info.Key, prefix) {
					return permanent{fmt.Errorf("the listing is out of order: %q follows %q", info.Key, last)}
				}
				if listed++; listed > maxListed {
					return permanent{fmt.Errorf("the listing has more than %d objects; use a longer prefix", maxListed)}
				}
				last, pages.empty = info.Key, 0
				a.progress()
				if !yield(Object{Key: info.Key, Size: info.Size, ETag: info.ETag, Modified: info.LastModified}, nil) {
					stopped = true
					return nil
				}
			}
			return ctx.Err() // ends the pages without an error
		})
		if err != nil && !stopped {
			yield(Object{}, err)
		}
	}
}

// Dirs begins again if a page fails.
func (s *s3) Dirs(ctx context.Context, dir string) (names []string, err error) {
	owner := false
	err = s.retry(ctx, dir, func(*attempts) error {
		names = nil
		pages := new(pages)
		list := s.core.ListObjectsIter(context.WithValue(ctx, pagesKey{}, pages), s.bucket, minio.ListObjectsOptions{
			Prefix: dir, FetchOwner: &owner, MaxKeys: pageLen,
		})
		for info := range list {
			if info.Err != nil {
				return info.Err
			}
			rest, below := strings.CutPrefix(info.Key, dir)
			if !below {
				return permanent{fmt.Errorf("the listing has %q, which is not below %q", info.Key, dir)}
			}
			if pages.empty = 0; len(names) == maxListed {
				return permanent{fmt.Errorf("the listing has more than %d directories", maxListed)}
			}
			if name, slash := strings.CutSuffix(rest, "/"); slash && name != "" {
				names = append(names, name)
			}
		}
		return ctx.Err() // ends the pages without an error
	})
	slices.Sort(names)
	return slices.Compact(names), err
}

func (s *s3) Delete(ctx context.Context, keys ...string) error {
	var group errgroup.Group
	group.SetLimit(16)
	for _, key := range keys {
		group.Go(func() error {
			err := s.retry(ctx, key, func(*attempts) error {
				return s.core.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{})
			})
			if errors.Is(err, ErrNotFound) && s.exists(ctx) {
				return nil
			}
			return err
		})
	}
	return group.Wait()
}
