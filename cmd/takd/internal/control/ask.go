package control

import "time"

// What only the running server can tell, of what is under way.
const (
	EmergencyList     Op[None, []Emergency]     = "emergency/list"
	EmergencyCancelOp Op[EmergencyCancel, None] = "emergency/cancel"
	ReachOp           Op[Reach, Reached]        = "reach"
	RefusedOp         Op[None, []Refusal]       = "refused"
)

// Emergency is an alarm that is repeated until somebody cancels it.
type Emergency struct {
	UID      string    `json:"uid"`  // of the alarm
	Type     string    `json:"type"` // such as 911 Alert
	Callsign string    `json:"callsign"`
	User     string    `json:"user"`   // who raised it; empty: an anonymous client
	Client   string    `json:"client"` // uid of the client that raised it
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"` // when it ends by itself
}

// EmergencyCancel ends an emergency.
type EmergencyCancel struct {
	UID string `json:"uid"` // of the alarm, or of the client that raised it
}

// Reach asks whether A can be seen by B; each is a callsign, uid or user.
type Reach struct {
	A string `json:"a"`
	B string `json:"b"`
}

// Reached is the answer, with what stands against it.
type Reached struct {
	Visible bool     `json:"visible"`
	Reasons []string `json:"reasons"`
}

// Refusal is somebody who could not connect, or log in.
type Refusal struct {
	Time    time.Time `json:"time"`    // of the last one
	Where   string    `json:"where"`   // the stream's input, or https, enroll or federation
	Address string    `json:"address"` // without the port
	User    string    `json:"user"`    // as the certificate or the login names it; "" where nobody was named
	Reason  string    `json:"reason"`
	Count   int       `json:"count"` // how often that happened
}
