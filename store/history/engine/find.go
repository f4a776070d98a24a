package engine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Version is the version of the engine that this takd was tested with, and that
// `make engine` fetches. Its checksum stands in engine.sha256.
const Version = "26.5.3"

// LibEnv names an environment variable with the path of the library.
const LibEnv = "TAKD_ENGINE"

const libName = "libchdb.so"

// errNoLibrary means that the library is in none of the places.
var errNoLibrary = errors.New("the engine's library is not there")

// Find returns where the engine's library lies: what TAKD_ENGINE says, else next
// to the program, else in the user's cache, where `make engine` puts it.
func Find() (string, error) {
	if p := os.Getenv(LibEnv); p != "" {
		return p, nil
	}
	var places []string
	if self, err := os.Executable(); err == nil {
		places = append(places, filepath.Join(filepath.Dir(self), libName))
	}
	if cache, err := os.UserCacheDir(); err == nil {
		places = append(places, filepath.Join(cache, "takd", "engine", Version, libName))
	}
	for _, p := range places {
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
			return p, nil
		}
	}
	return "", fmt.Errorf("%w (looked for %q): run `make engine`, or set history.engine_path", errNoLibrary, places)
}
