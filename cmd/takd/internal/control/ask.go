package control

import "time"

// What only the running server can tell, of what is under way.
const (
	EmergencyList     Op[None, []Emergency]     = "emergency/list"
	EmergencyCancelOp Op[EmergencyCancel, None] = "emergency/cancel"
	ReachOp           Op[Reach, Reached]        = "reach"
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
