package server

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"takd/cmd/takd/internal/config"
	"takd/cmd/takd/internal/control"
	"takd/store/tiles"
)

// openTiles opens the base maps of a data directory. cfg may return nil.
func openTiles(data string, cfg func() *config.Config, log *slog.Logger) *tiles.Library {
	l, err := tiles.Open(filepath.Join(data, "tiles"), func() tiles.Limits {
		c := config.Config{}
		if now := cfg(); now != nil {
			c = *now
		}
		return tiles.Limits{Options: c.Tiles.WithDefaults(), MinFree: c.Files.WithDefaults().MinFree}
	})
	if err != nil {
		log.Warn("an upload of a base map that never ended is still there", "error", err)
	}
	return l
}

// current is the configuration, or nil where it cannot be read.
func (l *local) current() *config.Config {
	if l.cfg == nil {
		return nil
	}
	return l.cfg.Current()
}

func (l *local) handleTiles(m control.Mux) {
	control.Handle(m, control.TilesList, l.tilesList)
	control.Handle(m, control.TilesAdd, l.tilesAdd)
	control.Handle(m, control.TilesRemove, l.tilesRemove)
}

func (l *local) tilesList(context.Context, control.None) ([]tiles.Info, error) {
	all, err := l.tiles.List()
	return append([]tiles.Info{}, all...), err
}

func (l *local) tilesAdd(ctx context.Context, q control.TilesFile) (tiles.Info, error) {
	if !filepath.IsAbs(q.File) {
		return tiles.Info{}, control.Errorf(control.ErrBad, "file %q: want an absolute path", q.File)
	}
	f, err := os.Open(q.File)
	if err != nil {
		return tiles.Info{}, control.As(control.ErrBad, err)
	}
	defer func() { _ = f.Close() }() // of reading
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return tiles.Info{}, control.Errorf(control.ErrBad, "file %q: want a file", q.File)
	}
	info, err := l.tiles.Add(q.Name, f, st.Size())
	if errors.Is(err, tiles.ErrLimit) || errors.Is(err, tiles.ErrFull) {
		return info, control.As(control.ErrBad, err)
	} else if err != nil {
		return info, kinded(err)
	}
	l.audit(ctx, "base map add", q.Name)
	return info, nil
}

func (l *local) tilesRemove(ctx context.Context, q control.Name) (control.None, error) {
	if err := l.tiles.Remove(q.Name); err != nil {
		return control.None{}, kinded(err)
	}
	l.audit(ctx, "base map remove", q.Name)
	return control.None{}, nil
}
