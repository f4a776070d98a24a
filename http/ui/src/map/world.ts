import { feature, mesh } from 'topojson-client';
import type { FeatureCollection, MultiLineString } from 'geojson';
import type { GeometryCollection, Topology } from 'topojson-specification';
import source from 'world-atlas/countries-50m.json?url';

export interface World {
  land: FeatureCollection;
  borders: MultiLineString;
}

let once: Promise<World> | undefined;

/** Land and borders of the world, from this server. */
export function world(): Promise<World> {
  once ??= fetch(source)
    .then((r) => r.json() as Promise<Topology<{ countries: GeometryCollection }>>)
    .then((t) => ({
      land: feature(t, t.objects.countries) as FeatureCollection,
      borders: mesh(t, t.objects.countries, (a, b) => a !== b),
    }));
  return once;
}

/** Meridians and parallels, every step degrees. */
export function graticule(step: number): MultiLineString {
  const lines: number[][][] = [];
  for (let lon = -180; lon <= 180; lon += step) lines.push([[lon, -85], [lon, 85]]);
  for (let lat = -80; lat <= 80; lat += step) lines.push([[-180, lat], [180, lat]]);
  return { type: 'MultiLineString', coordinates: lines };
}
