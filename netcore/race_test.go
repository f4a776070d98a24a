//go:build race

package netcore

// raceDetector allocates by itself, so allocations are counted without it.
const raceDetector = true
