package serving

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"promostore/bench/contest"
	"promostore/bench/peer"
)

// nginxConf gets a directory, an address, the length of padding and a body.
// reuseport gives each worker its own queue of connections, so that they are
// spread (nginx.org, ngx_http_core_module, listen).
const nginxConf = `daemon off;
worker_processes auto;
pid %[1]s/nginx.pid;
error_log %[1]s/nginx-error.log;
events { worker_connections 1024; }
http {
	access_log off;
	server_tokens off;
	keepalive_requests 1000000000;
	client_body_temp_path %[1]s/nginx-body;
	proxy_temp_path %[1]s/nginx-proxy;
	fastcgi_temp_path %[1]s/nginx-fastcgi;
	uwsgi_temp_path %[1]s/nginx-uwsgi;
	scgi_temp_path %[1]s/nginx-scgi;
	server {
		listen %[2]s reuseport;
		location /promotions/ {
			default_type application/json;
			add_header X %[3]s;
			return 200 '%[4]s';
		}
	}
}
`

// startNginx runs nginx, which sends the body of ours for the first row with
// headers of its own, padded to the length of ours.
func startNginx(ctx context.Context, env *contest.Env, ours *server) (*server, error) {
	_, body, err := ours.get(ctx, promotionPath(0))
	if err != nil {
		return nil, err
	}
	want, err := ours.answerLen(ctx, promotionPath(0))
	if err != nil {
		return nil, err
	}
	bare := len("HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 23 Nov 2026 22:14:31 GMT\r\n"+
		"Content-Type: application/json\r\nContent-Length: 100\r\nConnection: keep-alive\r\nX: \r\n\r\n") + len(body)
	program, err := peer.LookPath("nginx", "nginx-light")
	if err != nil {
		return nil, err
	}
	v, err := version(ctx, program, "-v")
	if err != nil {
		return nil, err
	}
	s, err := newServer("nginx", v+"; return 200 of as many bytes, worker_processes auto, reuseport, access_log off")
	if err != nil {
		return nil, err
	}
	s.constant = true
	conf := filepath.Join(env.Dir, "nginx.conf")
	text := fmt.Sprintf(nginxConf, env.Dir, s.addr, strings.Repeat("x", max(1, want-bare)), body)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return s, s.run(ctx, env, program, "-p", env.Dir, "-c", conf, "-e", filepath.Join(env.Dir, "nginx-error.log"))
}
