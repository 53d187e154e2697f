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
	DB *sql.DB // has no limit of connections

	dir    string
	server *exec.Cmd
	gone   chan struct{} // closed when the server has ended
}

// Setup is the version and the settings, for people.
func (m *MariaDB) Setup(ctx context.Context) (string, error) {
	var version string
	if err := m.DB.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: InnoDB, id UUID PRIMARY KEY, price and date as text; buffer pool %d MiB, sort buffer 64 MiB, redo log 1 GiB, "+
		"flush_log_at_trx_commit 0, doublewrite off; LOAD DATA INFILE with unique_checks and foreign_key_checks 0, which sorts in bulk",
		version, mariaPool()>>20), nil
}

func mariaPool() int64 { return min(8<<30, sysmem.Total()/3) }

// startTime is how long a server may take until it answers.
const startTime = time.Minute

// StartMariaDB starts a server in dir, which must not be there yet. It dies
// with this process. The error wraps ErrNotInstalled if there is no server.
func StartMariaDB(ctx context.Context, dir string) (m *MariaDB, err error) {
	server, err := LookPath("mariadbd", "mariadb-server")
	if err != nil {
		return nil, err
	}
	installer, err := LookPath("mariadb-install-db", "mariadb-server")
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
	install := exec.CommandContext(ctx, installer, append(args, "--auth-root-authentication-method=normal", "--skip-test-db")...)
	if err := run(install); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	// The server takes the path of the socket from its data directory.
	m = &MariaDB{dir: dir, gone: make(chan struct{})}
	m.server = exec.Command(server, append(args,
		"--skip-networking", "--socket=socket", "--pid-file="+filepath.Join(dir, "pid"),
		fmt.Sprintf("--innodb-buffer-pool-size=%d", mariaPool()),
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
		_ = m.server.Wait() // ProcessState has it
	}()
	if err := m.connect(ctx); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// PID is the server's.
func (m *MariaDB) PID() int { return m.server.Process.Pid }

// Socket is the path of the server's socket.
func (m *MariaDB) Socket() string { return filepath.Join(m.dir, "data", "socket") }

// connect waits until the server answers, and makes the database.
func (m *MariaDB) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		conn, err := net.Dial("unix", m.Socket())
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
	db, err := sql.Open("mysql", "root@unix("+m.Socket()+")/")
	if err != nil {
		return err
	}
	m.DB = db
	if _, err = db.ExecContext(ctx, "CREATE DATABASE promotions CHARACTER SET ascii COLLATE ascii_bin"); err != nil {
		return err
	}
	m.DB, err = sql.Open("mysql", "root@unix("+m.Socket()+")/promotions")
	return errors.Join(err, db.Close())
}

// Load makes a table with this name of a CSV, in place of the one there was.
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

// TableBytes is the size of a table's file.
func (m *MariaDB) TableBytes(table string) (int64, error) {
	info, err := os.Stat(filepath.Join(m.dir, "data", "promotions", table+".ibd"))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Close stops the server and removes its files. It is killed, since nobody
// will read them again.
func (m *MariaDB) Close() error {
	var err error
	if m.DB != nil {
		err = m.DB.Close()
	}
	killed := m.server.Process.Kill()
	if errors.Is(killed, os.ErrProcessDone) {
		killed = nil
	}
	<-m.gone
	return errors.Join(err, killed, os.RemoveAll(m.dir))
}
