package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"takd/cmd/takd/internal/config"
	"takd/http/admin"
	"takd/netcore"
	"takd/store/history"
)

// settings are the configuration, for administrators who are not at the machine.
type settings struct{ *config.Service }

// Show implements admin.Settings.
func (s settings) Show() (any, error) {
	fields, err := s.Current().Fields()
	if err != nil {
		return nil, err
	}
	text, err := s.Text()
	if err != nil {
		return nil, err
	}
	versions, err := s.History()
	return struct {
		Fields   []config.Field   `json:"fields"`
		Raw      string           `json:"raw"`
		Versions []config.Version `json:"versions"`
	}{fields, config.Masked(string(text)), append([]config.Version{}, versions...)}, err
}

// Set implements admin.Settings.
func (s settings) Set(pairs map[string]string) ([]string, error) {
	if key := config.Local(pairs); key != "" {
		return nil, fmt.Errorf("%w: %s is set on the machine alone: takd config set", admin.ErrSetting, key)
	}
	restart, err := s.Service.Set(pairs)
	return restart, setting(err)
}

// Preview implements admin.Settings.
func (s settings) Preview(pairs map[string]string) (string, error) {
	if key := config.Local(pairs); key != "" {
		return "", fmt.Errorf("%w: %s is set on the machine alone: takd config set", admin.ErrSetting, key)
	}
	text, err := s.Service.Preview(pairs)
	return config.Masked(string(text)), setting(err)
}

// Old implements admin.Settings.
func (s settings) Old(n int) (string, error) {
	text, err := s.Service.Old(n)
	return config.Masked(string(text)), setting(err)
}

// Rollback implements admin.Settings.
func (s settings) Rollback(n int) ([]string, error) {
	restart, err := s.Service.Rollback(n)
	return restart, setting(err)
}

// setting marks what the caller did wrong.
func setting(err error) error {
	for _, wrong := range []error{config.ErrInvalid, config.ErrNoKey, config.ErrVersion, config.ErrApply, netcore.ErrOptions, history.ErrInvalid} {
		if errors.Is(err, wrong) {
			return fmt.Errorf("%w: %w", admin.ErrSetting, err)
		}
	}
	return err
}

// maxTail is how much of the log is shown, in bytes.
const maxTail = 256 << 10

// logTail returns the last lines of the log.
func (s *Server) logTail() ([]byte, error) {
	f, err := os.Open(filepath.Join(s.opts.Data, "log", "takd.log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from := max(0, info.Size()-maxTail)
	text, err := io.ReadAll(io.NewSectionReader(f, from, maxTail))
	if from > 0 { // begins within a line
		_, text, _ = bytes.Cut(text, []byte("\n"))
	}
	return text, err
}
