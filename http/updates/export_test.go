package updates

// ReadManifest is the package that a manifest names.
func ReadManifest(text []byte) (string, error) {
	a, err := readManifest(text)
	if err != nil {
		return "", err
	}
	return a.id, nil
}
