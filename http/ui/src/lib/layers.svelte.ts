import type { Meta } from './tracks';

/** A base map that the server has. */
export interface Base {
  name: string;
  size: number;
  type: string; // mvt, png, jpg, webp, avif
  minzoom: number;
  maxzoom: number;
  bounds: [number, number, number, number];
  tag: string;
}

export const sides = ['f', 'h', 'n', 'u'] as const;
const store = 'takd.layers';

/** What a track is to who sees it: friend, hostile, neutral or unknown. */
export function side(m: Meta): (typeof sides)[number] {
  const c = m.type.startsWith('a-') ? m.type[2] : '';
  if (c === 'f' || c === 'a') return 'f';
  if (c === 'n') return 'n';
  return c && 'hsjk'.includes(c) ? 'h' : 'u';
}

/** What is shown on the map; kept in this browser. */
class Layers {
  base = $state('world'); // plain, world, or the name of a base map
  labels = $state(true);
  grid = $state(true);
  shapes = $state(true);
  hidden = $state.raw<ReadonlySet<string>>(new Set()); // "g|Blue", "t|Cyan", "a|h"

  constructor() {
    try {
      const v = JSON.parse(localStorage.getItem(store) ?? '{}') as Record<string, unknown>;
      if (typeof v.base === 'string') this.base = v.base;
      for (const k of ['labels', 'grid', 'shapes'] as const) if (typeof v[k] === 'boolean') this[k] = v[k];
      if (Array.isArray(v.hidden)) this.hidden = new Set(v.hidden.filter((x) => typeof x === 'string'));
    } catch { /* what an older page kept */ }
  }

  keep() {
    localStorage.setItem(store, JSON.stringify({ base: this.base, labels: this.labels, grid: this.grid, shapes: this.shapes, hidden: [...this.hidden] }));
  }

  show(key: string, on: boolean) {
    const next = new Set(this.hidden);
    if (on) next.delete(key);
    else next.add(key);
    this.hidden = next;
    this.keep();
  }

  shows(m: Meta): boolean {
    if (m.shape && !this.shapes) return false;
    if (!this.hidden.size) return true;
    if (m.type.startsWith('b-a-o')) return true; // emergencies always
    if (this.hidden.has('a|' + side(m)) || (m.team && this.hidden.has('t|' + m.team))) return false;
    return !m.groups.length || m.groups.some((g) => !this.hidden.has('g|' + g));
  }
}

export const layers = new Layers();

export const baseURL = (b: Base) => `${location.origin}/api/v1/tiles/${encodeURIComponent(b.name)}`;
