package live

import "encoding/json"

// Limits on drawings and routes. What is beyond is on the map as a point.
const (
	MaxPoints       = 1000     // of one; of more, some are left out
	maxShapes       = 64 << 20 // bytes of all
	maxShapesOfUser = maxShapes / 8
	maxWidth        = 20 // pixels
	metaBytes       = 1 << 20
)

// Shape is the geometry of a drawing, a route or a circle.
type Shape struct {
	Kind   string      `json:"kind"`             // line, area or circle
	At     []int32     `json:"at"`               // lon and lat in turn, 1e-7 degrees; of a circle none: it is round the point
	Radius *[2]float64 `json:"radius,omitempty"` // metres, along angle and across
	Angle  float64     `json:"angle,omitempty"`  // degrees
	Stroke uint32      `json:"stroke,omitempty"` // ARGB; 0: none is told
	Fill   uint32      `json:"fill,omitempty"`
	Width  float64     `json:"width,omitempty"`
	Points []string    `json:"points,omitempty"` // names of a route's points, "" for those without
}

// Size is about how many bytes of memory the shape takes.
func (s *Shape) Size() int {
	if s == nil {
		return 0
	}
	return 128 + 4*len(s.At) + 32*len(s.Points)
}

// encode is the shape as JSON; nil where there is none.
func (s *Shape) encode() []byte {
	if s == nil || s.Kind != "circle" && len(s.At) < 4 || len(s.At) > 2*MaxPoints {
		return nil
	}
	if s.Width = min(s.Width, maxWidth); s.Width != s.Width || s.Width < 0 {
		s.Width = 0
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil // a number that is none
	}
	return b
}

// draw gives the track another shape, as far as there is room.
func (h *Hub) draw(t *track, user string, shape []byte) {
	h.erase(t)
	if h.shapes+len(shape) > maxShapes || h.shapesOf[user]+len(shape) > maxShapesOfUser {
		h.full.Add(1)
		return
	}
	if t.shape, t.drawn = shape, user; len(shape) > 0 {
		h.shapes += len(shape)
		h.shapesOf[user] += len(shape)
	}
}

func (h *Hub) erase(t *track) {
	if len(t.shape) == 0 {
		return
	}
	h.shapes -= len(t.shape)
	if h.shapesOf[t.drawn] -= len(t.shape); h.shapesOf[t.drawn] <= 0 {
		delete(h.shapesOf, t.drawn)
	}
	t.shape = nil
}
