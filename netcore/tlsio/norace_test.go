//go:build !race

package tlsio_test

const raceDetector = false
