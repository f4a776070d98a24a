import { PMTiles, Protocol } from 'pmtiles';
import { addProtocol, type LayerSpecification, type Map as MapLibre } from 'maplibre-gl';
import { baseURL, type Base } from '../lib/layers.svelte';
import { colour } from '../lib/theme';

const protocol = new Protocol();
addProtocol('pmtiles', protocol.tile);

/** The layers of a vector map of any schema: what they are is told by their names. */
function vector(names: string[]): LayerSpecification[] {
  const all: LayerSpecification[] = [];
  const of = (re: RegExp) => names.filter((n) => re.test(n));
  const fill = (id: string, c: string) => all.push({ id: 'base-f-' + id, type: 'fill', source: 'base', 'source-layer': id, filter: ['==', ['geometry-type'], 'Polygon'], paint: { 'fill-color': c } });
  const line = (id: string, c: string, width: number) => all.push({ id: 'base-l-' + id, type: 'line', source: 'base', 'source-layer': id, paint: { 'line-color': c, 'line-width': width } });
  for (const n of of(/^(earth|land)$/i)) fill(n, colour('--land'));
  for (const n of of(/land.?(use|cover)|^park|wood|building/i)) fill(n, colour('--grid'));
  for (const n of of(/water|ocean|^sea/i)) {
    fill(n, colour('--sea'));
    line(n, colour('--border'), 0.6);
  }
  const known = /^(earth|land)$|land.?(use|cover)|^park|wood|building|water|ocean|^sea|bound|admin|place|poi|label|name/i;
  for (const n of names.filter((x) => !known.test(x))) line(n, colour('--dim'), /road|transport|street/i.test(n) ? 1 : 0.6);
  for (const n of of(/bound|admin/i)) line(n, colour('--border'), 1.2);
  for (const n of of(/^places?$/i))
    all.push({
      id: 'base-n-' + n, type: 'symbol', source: 'base', 'source-layer': n, filter: ['==', ['geometry-type'], 'Point'],
      layout: { 'text-field': ['get', 'name'], 'text-size': 12 }, paint: { 'text-color': colour('--dim'), 'text-halo-color': colour('--land'), 'text-halo-width': 1 },
    });
  return all;
}

let turn = 0;

/** Puts a base map under what else is on the map, or takes it away. */
export async function setBase(map: MapLibre, b: Base | undefined, before: string) {
  const mine = ++turn;
  const url = b && baseURL(b);
  let names: string[] = [];
  if (b?.type === 'mvt') {
    const file = new PMTiles(url!);
    protocol.add(file);
    const meta = (await file.getMetadata()) as { vector_layers?: { id?: unknown }[] };
    names = (meta.vector_layers ?? []).slice(0, 100).flatMap((l) => (typeof l.id === 'string' ? [l.id] : []));
  }
  if (mine !== turn) return; // another was chosen meanwhile
  for (const l of map.getStyle().layers) if (l.id.startsWith('base')) map.removeLayer(l.id);
  if (map.getSource('base')) map.removeSource('base');
  if (!b) return;
  if (b.type === 'mvt') {
    map.addSource('base', { type: 'vector', url: 'pmtiles://' + url });
    for (const l of vector(names)) map.addLayer(l, before);
  } else {
    map.addSource('base', { type: 'raster', url: 'pmtiles://' + url, tileSize: 256 });
    map.addLayer({ id: 'base', type: 'raster', source: 'base', paint: { 'raster-fade-duration': 0 } }, before);
  }
}
