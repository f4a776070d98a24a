// Package injector keeps what the server puts into the events of a uid: XML
// elements that are added to their detail.
package injector

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/uptrace/bun"

	"takd/store/meta"
)

// ErrInvalid is wrapped by errors in what is added.
var ErrInvalid = meta.ErrInvalid

// What is kept at most.
const (
	maxAll      = 1000
	maxUID      = 255  // bytes
	maxFragment = 4096 // bytes, of one and of all of a uid together
)

// Injector is an element for the events of a uid.
type Injector struct {
	bun.BaseModel `bun:"table:injectors" json:"-"`

	UID      string `bun:"uid,pk" json:"uid"`
	Fragment string `bun:",pk"    json:"toInject"`
}

// Store holds the injectors of a server. It is safe for concurrent use.
type Store struct {
	db *meta.DB

	mu     sync.Mutex // around a change and its telling, so that the last told is the last made
	change func(map[string]string)
}

// New returns the injectors in db.
func New(db *meta.DB) *Store { return &Store{db: db} }

// OnChange has f told, now and after each change, what there is: by uid, its elements.
func (s *Store) OnChange(ctx context.Context, f func(map[string]string)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change = f
	return s.tell(ctx)
}

func (s *Store) tell(ctx context.Context) error {
	if s.change == nil {
		return nil
	}
	list, err := s.List(ctx)
	if err != nil {
		return err
	}
	all := make(map[string]string, len(list))
	for _, i := range list {
		all[i.UID] += i.Fragment
	}
	s.change(all)
	return nil
}

// List returns all injectors, by uid.
func (s *Store) List(ctx context.Context) ([]Injector, error) {
	all := []Injector{}
	if err := s.db.NewSelect().Model(&all).Order("uid", "fragment").Scan(ctx); err != nil {
		return nil, fmt.Errorf("injectors: %w", err)
	}
	return all, nil
}

// Add adds one. It is no error if it is there already.
func (s *Store) Add(ctx context.Context, i Injector) error {
	if err := i.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
		var all []Injector
		if err := tx.NewSelect().Model(&all).Scan(ctx); err != nil {
			return err
		}
		bytes := len(i.Fragment)
		for _, o := range all {
			if o == i {
				return nil
			}
			if o.UID == i.UID {
				bytes += len(o.Fragment)
			}
		}
		if len(all) >= maxAll || bytes > maxFragment {
			return fmt.Errorf("%w: want at most %d injectors, and %d bytes for a uid", ErrInvalid, maxAll, maxFragment)
		}
		_, err := tx.NewInsert().Model(&i).Exec(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("injector: %w", err)
	}
	return s.tell(ctx)
}

// Delete removes one. It is no error if it is not there.
func (s *Store) Delete(ctx context.Context, i Injector) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.db.NewDelete().Model(&i).WherePK().Exec(ctx); err != nil {
		return fmt.Errorf("injector: %w", err)
	}
	return s.tell(ctx)
}

func (i *Injector) check() error {
	if i.UID == "" || len(i.UID) > maxUID || !utf8.ValidString(i.UID) || strings.ContainsRune(i.UID, 0) {
		return fmt.Errorf("%w: uid: want UTF-8 of 1 to %d bytes without NUL", ErrInvalid, maxUID)
	}
	if err := oneElement(i.Fragment); err != nil {
		return fmt.Errorf("%w: toInject: want one XML element of at most %d bytes: %w", ErrInvalid, maxFragment, err)
	}
	return nil
}

// oneElement reports what keeps text from being one element, and nothing beside
// elements and text: ATAK cuts its stream at the end tag of event.
func oneElement(text string) error {
	if len(text) > maxFragment {
		return errors.New("it is larger")
	}
	d, depth, roots := xml.NewDecoder(strings.NewReader(text)), 0, 0
	for {
		t, err := d.Token()
		switch t := t.(type) {
		case nil:
			if !errors.Is(err, io.EOF) {
				return err
			}
			if roots != 1 {
				return fmt.Errorf("there are %d", roots)
			}
			return nil
		case xml.StartElement:
			if depth++; depth == 1 {
				roots++
			}
			switch t.Name.Local {
			case "event", "detail", "marti", "_flow-tags_":
				return fmt.Errorf("<%s> is the server's", t.Name.Local)
			}
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 0 && strings.TrimSpace(string(t)) != "" {
				return errors.New("there is text around it")
			}
		default:
			return errors.New("comments, instructions and declarations are not taken")
		}
	}
}
