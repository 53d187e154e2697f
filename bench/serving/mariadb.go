package serving

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"promostore/bench/contest"
	"promostore/bench/peer"
)

// startMariaDB runs the design that promostore replaces: MariaDB with two
// tables and a row that says which of them serves, and in front of it net/http
// with a prepared SELECT.
func startMariaDB(ctx context.Context, env *contest.Env, rows int64) (*server, error) {
	table, err := env.CSV(ctx, "v4", rows)
	if err != nil {
		return nil, err
	}
	program, err := peerProgram(ctx, env, false)
	if err != nil {
		return nil, err
	}
	s, err := newServer("mariadb", "")
	if err != nil {
		return nil, err
	}
	if s.database, err = peer.StartMariaDB(ctx, filepath.Join(env.Dir, "http-mariadb")); err != nil {
		return nil, err
	}
	if err := s.fill(ctx, table, rows); err != nil {
		return nil, errors.Join(fmt.Errorf("mariadb: %w", err), s.stop())
	}
	driver, err := moduleVersions(program, "github.com/go-sql-driver/mysql")
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	if s.setup, err = s.database.Setup(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	s.setup = driver + ", net/http, prepared SELECT over a unix socket; MariaDB " + s.setup
	return s, s.run(ctx, env, program, "-listen", s.addr, "-kind", "mariadb",
		"-source", "root@unix("+s.database.Socket()+")/promotions")
}

func (s *server) fill(ctx context.Context, table string, rows int64) error {
	if err := s.database.Load(ctx, table, "promotions_a"); err != nil {
		return err
	}
	for _, statement := range []string{
		"CREATE TABLE promotions_b LIKE promotions_a",
		"CREATE TABLE promotions_switch (active INT NOT NULL)",
		"INSERT INTO promotions_switch VALUES (0)",
	} {
		if _, err := s.database.DB.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	n := int64(0)
	// It also reads the table into the buffer pool.
	if err := s.database.DB.QueryRowContext(ctx, "SELECT COUNT(*) FROM promotions_a").Scan(&n); err != nil {
		return err
	}
	if n != rows {
		return fmt.Errorf("%d rows of %d", n, rows)
	}
	return nil
}
