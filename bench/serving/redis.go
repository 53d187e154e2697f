package serving

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"

	"promostore/bench/contest"
	"promostore/bench/load"
	"promostore/bench/peer"
	"promostore/bench/serving/answer"
	"promostore/format"
)

// startRedis runs Redis with the answers of ours under the ids.
func startRedis(ctx context.Context, env *contest.Env, rows int64) (*server, error) {
	path, err := env.CSV(ctx, "v4", rows)
	if err != nil {
		return nil, err
	}
	table, err := peer.ReadTable(ctx, path)
	if err != nil {
		return nil, err
	}
	program, err := peer.LookPath("redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	v, err := version(ctx, program, "--version")
	if err != nil {
		return nil, err
	}
	ioThreads := strconv.Itoa(redisThreads(runtime.NumCPU()))
	s, err := newServer("redis", v+"; no persistence, JSON under the id, loopback TCP, one request at a time on a connection, io-threads "+ioThreads)
	if err != nil {
		return nil, err
	}
	s.kind = load.Redis
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		return nil, err
	}
	if err := s.run(ctx, env, program, "--bind", host, "--port", port,
		"--save", "", "--appendonly", "no", "--io-threads", ioThreads, "--dir", env.Dir); err != nil {
		return nil, err
	}
	if err := fillRedis(s.addr, table, rows); err != nil {
		return nil, errors.Join(fmt.Errorf("redis: fill: %w", err), s.stop())
	}
	return s, nil
}

// redisThreads is the threads that redis.conf recommends for the processors: 1
// for less than 4 of them, 3 for 4, 6 for 8 and more.
func redisThreads(processors int) int {
	if processors < 4 {
		return 1
	}
	return min(processors*3/4, 6)
}

// fillRedis sends a SET for each row of table, without waiting for answers in
// between, as redis-cli --pipe does.
func fillRedis(addr string, table *peer.Table, rows int64) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	sent := make(chan error, 1)
	go func() { sent <- sendSets(c, table) }()
	r := bufio.NewReader(c)
	for range rows {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if string(line) != "+OK\r\n" {
			return fmt.Errorf("SET: %q", line)
		}
	}
	if err := <-sent; err != nil {
		return err
	}
	if line, err := r.ReadString('\n'); err != nil || line != fmt.Sprintf(":%d\r\n", rows) {
		return fmt.Errorf("DBSIZE of %d: %q, %w", rows, line, err)
	}
	return nil
}

// sendSets sends the commands, and DBSIZE behind them.
func sendSets(c net.Conn, table *peer.Table) error {
	w := bufio.NewWriterSize(c, 1<<20)
	var body []byte
	for id, value := range table.All() {
		body = answer.AppendRow(body[:0], format.KeyAt(id), value)
		if _, err := fmt.Fprintf(w, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n",
			format.TextLen, format.KeyAt(id), len(body), body); err != nil {
			return err
		}
	}
	if _, err := w.WriteString("*1\r\n$6\r\nDBSIZE\r\n"); err != nil {
		return err
	}
	return w.Flush()
}
