package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"takd/cmd/takd/internal/control"
	"takd/store/tiles"
)

type tilesCmd struct {
	List    tilesListCmd    `cmd:"" help:"Show the base maps."`
	Add     tilesAddCmd     `cmd:"" help:"Copy a PMTiles file to the base maps."`
	Remove  tilesRemoveCmd  `cmd:"" help:"Delete a base map."`
	Extract tilesExtractCmd `cmd:"" help:"Cut a region out of a PMTiles file, also one behind an http or https address."`
}

type tilesListCmd struct{}

func (tilesListCmd) Run(a *app) error {
	all, err := ask(a, control.TilesList, control.None{})
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(all))
	for _, m := range all {
		b := m.Bounds
		rows = append(rows, []string{
			m.Name, m.Type, fmt.Sprintf("%d-%d", m.MinZoom, m.MaxZoom), fmt.Sprintf("%.4g,%.4g,%.4g,%.4g", b[0], b[1], b[2], b[3]),
			volume(m.Size), m.Time.Local().Format(time.DateTime),
		})
	}
	return a.table(all, "NAME TYPE ZOOM BOUNDS SIZE TIME", rows)
}

type tilesAddCmd struct {
	File string `arg:"" type:"existingfile" help:"The PMTiles file."`
	Name string `help:"Name that it gets; that of the file where none is given."`
}

func (c *tilesAddCmd) Run(a *app) error { return addTiles(a, c.File, c.Name) }

func addTiles(a *app, file, name string) error {
	file, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	if name == "" {
		name = filepath.Base(file)
	}
	if !strings.HasSuffix(name, tiles.Extension) {
		name += tiles.Extension
	}
	info, err := ask(a, control.TilesAdd, control.TilesFile{File: file, Name: name})
	if err != nil {
		return err
	}
	return a.say(info, "%s: %s, zoom %d to %d, %s\n", info.Name, info.Type, info.MinZoom, info.MaxZoom, volume(info.Size))
}

type tilesRemoveCmd struct {
	Name string `arg:"" help:"Name, as the list shows it."`
}

func (c *tilesRemoveCmd) Run(a *app) error {
	if _, err := ask(a, control.TilesRemove, control.Name{Name: c.Name}); err != nil {
		return err
	}
	return a.say(map[string]string{"removed": c.Name}, "%s is gone\n", c.Name)
}

type tilesExtractCmd struct {
	Source  string `arg:"" help:"PMTiles file, or its http or https address."`
	Bbox    string `required:"" help:"Region, in degrees." placeholder:"W,S,E,N"`
	Maxzoom int    `help:"Deepest zoom that is taken; all there are where none is given." default:"30" placeholder:"N"`
	Out     string `xor:"to" required:"" type:"path" help:"File to write; must not be there yet." placeholder:"FILE"`
	Add     string `xor:"to" required:"" help:"Name of the base map that it becomes." placeholder:"NAME"`
}

func (c *tilesExtractCmd) Run(a *app) error {
	reg := tiles.Region{MaxZoom: c.Maxzoom}
	parts := strings.Split(c.Bbox, ",")
	if len(parts) != len(reg.Box) {
		return control.Errorf(control.ErrBad, "--bbox %q: want west, south, east and north in degrees, such as 12,48,15,50", c.Bbox)
	}
	for i, p := range parts {
		var err error
		if reg.Box[i], err = strconv.ParseFloat(strings.TrimSpace(p), 64); err != nil {
			return control.Errorf(control.ErrBad, "--bbox %q: %q is no number", c.Bbox, p)
		}
	}
	src, closed, err := source(c.Source)
	if err != nil {
		return err
	}
	defer closed()
	if c.Out != "" {
		got, err := extractTo(a.ctx, src, reg, c.Out)
		if err != nil {
			return err
		}
		return a.say(got, "%s: %d tiles, %s, zoom %d to %d, %s\n", c.Out, got.Tiles, got.Type, got.MinZoom, got.MaxZoom, volume(got.Bytes))
	}
	dir, err := os.MkdirTemp("", "takd-tiles-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// The server reads it, maybe as another user.
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // a public map
		return err
	}
	file := filepath.Join(dir, "region"+tiles.Extension)
	if _, err := extractTo(a.ctx, src, reg, file); err != nil {
		return err
	}
	return addTiles(a, file, c.Add)
}

// source opens what a region is cut out of.
func source(name string) (src tiles.Source, closed func(), err error) {
	if strings.HasPrefix(name, "http://") || strings.HasPrefix(name, "https://") {
		return &tiles.Remote{URL: name}, func() {}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, control.As(control.ErrBad, err)
	}
	return tiles.File{ReaderAt: f}, func() { _ = f.Close() }, nil
}

// extractTo writes a region to a file that is not there yet.
func extractTo(ctx context.Context, src tiles.Source, reg tiles.Region, name string) (got tiles.Extracted, err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // a public map
	if err != nil {
		return got, control.As(control.ErrBad, err)
	}
	got, err = tiles.Extract(ctx, src, reg, f)
	if errors.Is(err, tiles.ErrInvalid) {
		err = control.As(control.ErrBad, err)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(name)
	}
	return got, err
}
