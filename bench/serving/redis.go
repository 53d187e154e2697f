package serving

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"

	"promostore/bench/contest"
	"promostore/bench/load"
)

// startRedis runs Redis with the answers of ours under the ids.
func startRedis(ctx context.Context, env *contest.Env, rows int64) (*server, error) {
	table, err := env.CSV(ctx, "v4", rows)
	if err != nil {
		return nil, err
	}
	v, err := version(ctx, "redis-server", "--version")
	if err != nil {
		return nil, err
	}
	s, err := newServer("redis", v+"; no persistence, JSON under the id, loopback TCP")
	if err != nil {
		return nil, err
	}
	s.kind = load.Redis
	host, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		return nil, err
	}
	if err := s.run(ctx, env, "redis-server", "--bind", host, "--port", port,
		"--save", "", "--appendonly", "no", "--dir", env.Dir); err != nil {
		return nil, err
	}
	if err := fillRedis(s.addr, table, rows); err != nil {
		return nil, errors.Join(fmt.Errorf("redis: fill: %w", err), s.stop())
	}
	return s, nil
}

// fillRedis sends a SET for each row of table, without waiting for answers in
// between, as redis-cli --pipe does.
func fillRedis(addr, table string, rows int64) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	sent := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(c, 1<<20)
		err := eachRow(table, func(id, price, date []byte) error {
			_, err := fmt.Fprintf(w, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n"+jsonRow+"\r\n",
				len(id), id, len(jsonRow)-len("%s%s%s")+len(id)+len(price)+len(date), id, price, date)
			return err
		})
		if err == nil {
			_, err = w.WriteString("*1\r\n$6\r\nDBSIZE\r\n")
		}
		sent <- errors.Join(err, w.Flush())
	}()
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
	if line, err := r.ReadString('\n'); err != nil || line != ":"+strconv.FormatInt(rows, 10)+"\r\n" {
		return fmt.Errorf("DBSIZE: %q, %w", line, err)
	}
	return nil
}

// jsonRow is how promoserve answers an id, a price and a date.
const jsonRow = `{"id":"%s","price":%s,"expiration_date":"%s"}`

// eachRow calls f with the id, the price and the wall clock of each row of a
// table that promobuild generated.
func eachRow(table string, f func(id, price, date []byte) error) error {
	file, err := os.Open(table)
	if err != nil {
		return err
	}
	defer file.Close()
	r := bufio.NewReaderSize(file, 1<<20)
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		id, price, date, err := splitRow(line)
		if err == nil {
			err = f(id, price, date)
		}
		if err != nil {
			return err
		}
	}
}

// splitRow is the fields of a row; the date without its offset.
func splitRow(line []byte) (id, price, date []byte, err error) {
	const dateLen = len("2018-06-04 06:01:20")
	fields := bytes.Split(line, []byte(","))
	if len(fields) != 3 || len(fields[2]) < dateLen {
		return nil, nil, nil, fmt.Errorf("row %q", line)
	}
	return fields[0], fields[1], fields[2][:dateLen], nil
}
