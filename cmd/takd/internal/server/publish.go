package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"takd/cot/takpb"
	"takd/http/httpd"
	"takd/netcore"
)

const apiInput = "api" // of events that handlers send

// unknownCoT is how CoT says that a height or an accuracy is not known.
const unknownCoT = 9_999_999

// publish implements httpd.Publish: a client of the engine that says one thing and goes.
func (p *people) publish(ctx context.Context, who httpd.Principal, e httpd.Event) error {
	as := netcore.Principal{User: who.User, In: who.In, Out: who.Out}
	if who.Role == httpd.Admin {
		groups, err := p.s.store.Auth.Groups(ctx)
		if err != nil {
			return err
		}
		as.In = make([]string, 0, len(groups))
		for _, g := range groups {
			as.In = append(as.In, g.Name)
		}
	}
	frame, err := encode(&e)
	if err != nil {
		return err
	}
	return p.s.engine.Attach(ctx, netcore.Attached{Principal: as, Input: apiInput, Conn: oneWord{bytes.NewReader(frame)}})
}

// encode makes a frame of TAK protobuf of an event that is sent now.
func encode(e *httpd.Event) ([]byte, error) {
	now := time.Now()
	ms := uint64(now.UnixMilli())
	b, err := (&takpb.TakMessage{CotEvent: &takpb.CotEvent{
		Uid: e.UID, Type: e.Type, How: e.How, SendTime: ms, StartTime: ms, StaleTime: uint64(now.Add(e.Life).UnixMilli()),
		Lat: e.Lat, Lon: e.Lon, Hae: unknownCoT, Ce: unknownCoT, Le: unknownCoT, Detail: &takpb.Detail{XmlDetail: e.Detail},
	}}).MarshalVT()
	if err != nil {
		return nil, fmt.Errorf("encode an event: %w", err)
	}
	return append(binary.AppendUvarint([]byte{0xBF}, uint64(len(b))), b...), nil
}

// oneWord is the connection of a client that reads nothing.
type oneWord struct{ io.Reader }

// Write implements io.Writer.
func (oneWord) Write(b []byte) (int, error) { return len(b), nil }

// Close implements io.Closer.
func (oneWord) Close() error { return nil }
