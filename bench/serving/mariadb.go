package serving

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"

	"promostore/bench/contest"
)

// startMariaDB runs the design that promostore replaces: MariaDB with two
// tables and a row that says which of them serves, and in front of it net/http
// with a prepared SELECT.
func startMariaDB(ctx context.Context, env *contest.Env, rows int64) (*server, error) {
	table, err := env.CSV(ctx, "v4", rows)
	if err != nil {
		return nil, err
	}
	program, err := peerProgram(ctx, env)
	if err != nil {
		return nil, err
	}
	database, err := version(ctx, "mariadbd", "--version")
	if err != nil {
		return nil, err
	}
	driver, err := moduleVersions(program, "github.com/go-sql-driver/mysql")
	if err != nil {
		return nil, err
	}
	s, err := newServer("mariadb", database+"; "+driver+", net/http; UUID PRIMARY KEY, all in the buffer pool, unix socket, prepared SELECT")
	if err != nil {
		return nil, err
	}
	socket, err := s.startDatabase(ctx, env)
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	dsn := "root@unix(" + socket + ")/"
	if err := fillMariaDB(ctx, dsn, table, rows); err != nil {
		return nil, errors.Join(fmt.Errorf("mariadb: fill: %w", err), s.stop())
	}
	if err := s.run(ctx, env, program, "-listen", s.addr, "-kind", "mariadb", "-source", dsn+"promotions"); err != nil {
		return nil, err
	}
	return s, nil
}

// startDatabase makes a database of its own in env.Dir and starts its server.
func (s *server) startDatabase(ctx context.Context, env *contest.Env) (socket string, err error) {
	me, err := user.Current()
	if err != nil {
		return "", err
	}
	data := filepath.Join(env.Dir, "mariadb")
	if err := os.RemoveAll(data); err != nil {
		return "", err
	}
	install := exec.CommandContext(ctx, "mariadb-install-db", "--no-defaults", "--user="+me.Username, "--datadir="+data,
		"--auth-root-authentication-method=normal", "--skip-test-db")
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mariadb-install-db: %w: %s", err, out)
	}
	socket = filepath.Join(data, "socket")
	p, err := start(env, "mariadbd", "mariadbd", "--no-defaults", "--user="+me.Username, "--datadir="+data,
		"--socket="+socket, "--skip-networking", "--skip-log-bin", "--secure-file-priv="+env.Dir,
		"--innodb-buffer-pool-size=2G", "--innodb-log-file-size=512M", "--innodb-flush-log-at-trx-commit=2",
		"--innodb-flush-method=O_DIRECT", "--innodb-adaptive-hash-index=ON")
	if err != nil {
		return "", err
	}
	s.processes = append(s.processes, p)
	db, err := sql.Open("mysql", "root@unix("+socket+")/")
	if err != nil {
		return "", err
	}
	defer db.Close()
	return socket, p.until(ctx, func() error { return db.PingContext(ctx) })
}

func fillMariaDB(ctx context.Context, dsn, table string, rows int64) error {
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	c, err := db.Conn(ctx) // the variables are those of a session
	if err != nil {
		return err
	}
	defer c.Close()
	columns := "(id UUID PRIMARY KEY, price DECIMAL(12,6) NOT NULL, expiration_date DATETIME NOT NULL)"
	for _, statement := range []string{
		"CREATE DATABASE promotions",
		"USE promotions",
		"CREATE TABLE promotions_a " + columns,
		"CREATE TABLE promotions_b " + columns,
		"CREATE TABLE promotions_switch (active INT NOT NULL)",
		"INSERT INTO promotions_switch VALUES (0)",
		"SET unique_checks = 0, foreign_key_checks = 0",
		"LOAD DATA INFILE '" + table + "' INTO TABLE promotions_a FIELDS TERMINATED BY ',' (id, price, @date) SET expiration_date = LEFT(@date, 19)",
	} {
		if _, err := c.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	n := int64(0)
	// It also reads the whole table into the buffer pool.
	if err := c.QueryRowContext(ctx, "SELECT COUNT(*) FROM promotions_a").Scan(&n); err != nil || n != rows {
		return fmt.Errorf("%d rows of %d: %w", n, rows, err)
	}
	return nil
}
