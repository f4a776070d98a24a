package control

import "takd/store/tiles"

// Base maps.
const (
	TilesList   Op[None, []tiles.Info]    = "tiles/list"
	TilesAdd    Op[TilesFile, tiles.Info] = "tiles/add"
	TilesRemove Op[Name, None]            = "tiles/remove"
)

// TilesFile is a PMTiles file of the machine, and the name that it gets.
type TilesFile struct {
	File string `json:"file"` // absolute
	Name string `json:"name"`
}
