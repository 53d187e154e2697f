package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"

	"promostore/bench/serving/answer"
	"promostore/reader"
)

// database is the design that promostore replaces: two tables, one of which is
// loaded while the other serves, and a row that says which. It looks at that
// row once a second, not in every request.
type database struct {
	db     *sql.DB
	stmts  [2]*sql.Stmt // of promotions_a, promotions_b
	active atomic.Pointer[sql.Stmt]
}

// databaseConns is how many connections the pool has, all of which are kept.
// With 8, 32 or 64 the rate is the same within 5 %.
const databaseConns = 16

func openDatabase(ctx context.Context, dsn string) (*database, error) {
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(databaseConns)
	db.SetMaxIdleConns(databaseConns)
	d := &database{db: db}
	for i, table := range []string{"promotions_a", "promotions_b"} {
		d.stmts[i], err = db.PrepareContext(ctx, "SELECT price, expiration_date FROM "+table+" WHERE id = ?")
		if err != nil {
			return nil, errors.Join(fmt.Errorf("prepare: %w", err), d.close())
		}
	}
	if err := d.look(ctx); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *database) close() error { return d.db.Close() }

// look finds out which table is active.
func (d *database) look(ctx context.Context) error {
	var table int
	if err := d.db.QueryRowContext(ctx, "SELECT active FROM promotions_switch").Scan(&table); err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	d.active.Store(d.stmts[table])
	return nil
}

func (d *database) serve(ctx context.Context, ln net.Listener) error {
	go func() {
		for tick := time.Tick(time.Second); ctx.Err() == nil; <-tick {
			if err := d.look(ctx); err != nil && ctx.Err() == nil {
				log.Print(err)
			}
		}
	}()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /promotions/{id}", d.promotion)
	s := http.Server{Handler: mux, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 90 * time.Second}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (d *database) promotion(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	body := []byte(answer.NotFound)
	key, ok := reader.ParseID([]byte(r.PathValue("id")))
	var price, date []byte
	err := sql.ErrNoRows
	if ok {
		err = d.active.Load().QueryRowContext(r.Context(), key.String()).Scan(&price, &date)
	}
	switch {
	case err == nil:
		body = answer.AppendJSON(nil, key, price, date)
	case errors.Is(err, sql.ErrNoRows):
		w.WriteHeader(http.StatusNotFound)
	default:
		log.Print(err)
		w.WriteHeader(http.StatusInternalServerError)
	}
	_, _ = w.Write(body) // the client may have gone
}
