//go:build race

package tlsio_test

// raceDetector allocates by itself, so allocations are counted without it.
const raceDetector = true
