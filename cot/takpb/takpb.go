// Package takpb holds the generated types of TAK protocol version 1.
//
// The engine does not use them to pass events on: it changes a message in place
// (see takd/cot). They are for whoever builds or takes apart whole messages.
package takpb

//go:generate ./gen.sh
