package peer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver

	"promostore/internal/sysmem"
)

// MariaDB is a server on a socket of its own.
type MariaDB struct {
	DB *sql.DB // without a limit of connections

	dir    string
	server *exec.Cmd
	gone   chan struct{} // closed when the server has ended
}

// StartMariaDB starts a server in dir, which must not exist. The server ends
// with this process.
func StartMariaDB(ctx context.Context, dir string) (*MariaDB, error) {
	server, err := LookPath("mariadbd")
	if err != nil {
		return nil, err
	}
	installer, err := LookPath("mariadb-install-db")
	if err != nil {
		return nil, err
	}
	args := []string{"--no-defaults", "--datadir=" + filepath.Join(dir, "data")}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if err := Run(exec.CommandContext(ctx, installer, append(args, "--auth-root-authentication-method=normal", "--skip-test-db")...)); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	m := &MariaDB{dir: dir, gone: make(chan struct{})}
	m.server = exec.Command(server, append(args,
		"--skip-networking", "--socket=socket", "--pid-file="+filepath.Join(dir, "pid"), // the socket is in the data directory
		fmt.Sprintf("--innodb-buffer-pool-size=%d", min(8<<30, sysmem.Total()/3)),
		"--innodb-sort-buffer-size=64M", "--innodb-log-file-size=1G", "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=OFF",
		"--max-connections=1000")...)
	m.server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	defer log.Close()
	m.server.Stdout, m.server.Stderr = log, log
	if err := m.server.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	go func() {
		defer close(m.gone)
		_ = m.server.Wait() // the state of the process has the error
	}()
	if err := m.connect(ctx); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// PID returns the process ID of the server.
func (m *MariaDB) PID() int { return m.server.Process.Pid }

// DSN returns the name of the database for its driver.
func (m *MariaDB) DSN() string { return "root@unix(" + m.socket() + ")/promotions" }

func (m *MariaDB) socket() string { return filepath.Join(m.dir, "data", "socket") }

// connect waits until the server answers, and makes the database.
func (m *MariaDB) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		conn, err := net.Dial("unix", m.socket())
		if err == nil {
			conn.Close()
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("mariadbd does not answer: %w", ctx.Err())
		case <-m.gone:
			text, _ := os.ReadFile(filepath.Join(m.dir, "log"))
			return fmt.Errorf("mariadbd did not start: %v\n%s", m.server.ProcessState, text)
		case <-time.After(20 * time.Millisecond):
		}
	}
	db, err := sql.Open("mysql", "root@unix("+m.socket()+")/")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "CREATE DATABASE promotions CHARACTER SET ascii COLLATE ascii_bin")
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	m.DB, err = sql.Open("mysql", m.DSN())
	return err
}

// Load replaces the table of the given name with the rows of a CSV. Without
// checks, InnoDB sorts in bulk.
func (m *MariaDB) Load(ctx context.Context, csv, table string) error {
	conn, err := m.DB.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, s := range []string{
		"SET SESSION unique_checks = 0, foreign_key_checks = 0",
		"DROP TABLE IF EXISTS " + table,
		"CREATE TABLE " + table + " (id UUID PRIMARY KEY, price VARCHAR(24) NOT NULL, expiration_date VARCHAR(96) NOT NULL) ENGINE = InnoDB",
		"LOAD DATA INFILE " + quote(csv) + " INTO TABLE " + table + " FIELDS TERMINATED BY ','",
	} {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%.20s…: %w", s, err)
		}
	}
	return nil
}

// TableBytes returns the size of the file of a table.
func (m *MariaDB) TableBytes(table string) (int64, error) {
	info, err := os.Stat(filepath.Join(m.dir, "data", "promotions", table+".ibd"))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Close kills the server and removes its files.
func (m *MariaDB) Close() error {
	var err error
	if m.DB != nil {
		err = m.DB.Close()
	}
	if kill := m.server.Process.Kill(); !errors.Is(kill, os.ErrProcessDone) {
		err = errors.Join(err, kill)
	}
	<-m.gone
	return errors.Join(err, os.RemoveAll(m.dir))
}
