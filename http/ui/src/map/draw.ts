import type { Meta, Tracks } from '../lib/tracks';
import { layers, type Base } from '../lib/layers.svelte';
import { colour } from '../lib/theme';
import { drawShapes } from './shapes';
import { Atlas } from './symbols';

/** A map, whoever draws it. Degrees and CSS pixels. */
export interface View {
  project(lon: number, lat: number): { x: number; y: number };
  unproject(x: number, y: number): { lon: number; lat: number };
  /** What lies under the tracks: a base map, outlines or nothing; and whether there is a grid. */
  ground(base: Base | undefined, world: boolean, grid: boolean): void;
  box(): [west: number, south: number, east: number, north: number];
  fly(lon: number, lat: number, zoom?: number): void;
  fit(west: number, south: number, east: number, north: number): void;
  theme(): void;
  redraw(): void;
  destroy(): void;
}

/** How many tracks in view may have symbols, and labels; more are dots. */
export const maxSymbols = 1500;
export const maxLabels = 250;

/** The key of what is drawn for a track. */
export function keyOf(m: Meta, dense: boolean): string {
  if (m.shape) return 'none';
  if (m.type.startsWith('b-a-o')) return 'alarm';
  if (!dense) return m.icon ? `icon|${m.sym}\n${m.icon}` : m.sym;
  if (m.sym.startsWith('sidc|')) return 'dot|' + ({ F: 'f', H: 'h', N: 'n' }[m.sym[6]] ?? 'u');
  return m.sym.startsWith('team|') ? 'dot|f' : m.sym;
}

/** Counts the tracks in a box, up to more than symbols are drawn of. */
export function inView(tracks: Tracks, [w, s, e, n]: number[]): number {
  let count = 0;
  for (let i = 1; i < tracks.meta.length && count <= maxSymbols; i++) {
    const m = tracks.meta[i];
    if (!m || !layers.shows(m)) continue;
    const lon = tracks.lon[i] / 1e7;
    const lat = tracks.lat[i] / 1e7;
    if (lon >= w && lon <= e && lat >= s && lat <= n) count++;
  }
  return count;
}

const cell = 14; // CSS pixels

/** Which places of the screen have a label: of those that would overlap, the first stays. */
export class Places {
  private readonly taken = new Set<number>();

  /** Takes the place of a label whose left middle is at x and y, where it is free. */
  take(x: number, y: number, width: number): boolean {
    const key = (cx: number, cy: number) => cy * 100_000 + cx;
    const [x0, x1] = [Math.floor(x / cell), Math.floor((x + width) / cell)];
    const [y0, y1] = [Math.floor((y - 6) / cell), Math.floor((y + 6) / cell)];
    for (let cy = y0; cy <= y1; cy++) for (let cx = x0; cx <= x1; cx++) if (this.taken.has(key(cx, cy))) return false;
    for (let cy = y0; cy <= y1; cy++) for (let cx = x0; cx <= x1; cx++) this.taken.add(key(cx, cy));
    return true;
  }
}

interface Label {
  x: number;
  y: number;
  text: string;
  rank: number; // the lower, the earlier it takes its place
}

/** Draws labels, as far as they do not overlap; returns how many. */
function label(g: CanvasRenderingContext2D, list: Label[]): number {
  const places = new Places();
  const ink = colour('--text');
  const halo = colour('--bg');
  let drawn = 0;
  for (const l of list.sort((a, b) => a.rank - b.rank)) {
    if (!places.take(l.x, l.y, g.measureText(l.text).width)) continue;
    g.lineWidth = 3;
    g.strokeStyle = halo;
    g.strokeText(l.text, l.x, l.y);
    g.fillStyle = ink;
    g.fillText(l.text, l.x, l.y);
    drawn++;
  }
  return drawn;
}

/** Draws a line: lon and lat in turn. */
function line(g: CanvasRenderingContext2D, view: View, points: number[], ink: string, dash: number[] = []) {
  g.beginPath();
  for (let i = 0; i < points.length; i += 2) {
    const p = view.project(points[i], points[i + 1]);
    if (i) g.lineTo(p.x, p.y);
    else g.moveTo(p.x, p.y);
  }
  g.setLineDash(dash);
  g.strokeStyle = ink;
  g.lineWidth = 2;
  g.stroke();
  g.setLineDash([]);
}

/** Draws, over a map, what is text or belongs to the selected track; with symbols also the tracks. Returns how many labels there are. */
export function overlay(g: CanvasRenderingContext2D, tracks: Tracks, view: View, selected: number, trail: number[], measured: number[], atlas?: Atlas): number {
  const ratio = devicePixelRatio;
  const width = g.canvas.width / ratio;
  const height = g.canvas.height / ratio;
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, height);
  const count = inView(tracks, view.box());
  const labels = layers.labels && count <= maxLabels;
  g.lineJoin = 'round';
  g.canvas.dataset.shapes = String(drawShapes(g, tracks, view, selected));
  line(g, view, measured, colour('--warn'), [6, 4]);
  for (let i = 0; i < measured.length; i += 2) {
    const p = view.project(measured[i], measured[i + 1]);
    g.beginPath();
    g.arc(p.x, p.y, 4, 0, 2 * Math.PI);
    g.fillStyle = colour('--warn');
    g.fill();
  }
  if (trail.length > 2) {
    line(g, view, trail, colour('--accent'));
  }
  g.font = '12px system-ui, "DejaVu Sans", sans-serif';
  g.textBaseline = 'middle';
  g.lineJoin = 'round';
  const texts: Label[] = [];
  tracks.each((tid, m) => {
    if ((!atlas && !labels && tid !== selected) || !layers.shows(m)) return;
    const p = view.project(tracks.lon[tid] / 1e7, tracks.lat[tid] / 1e7);
    if (p.x < -40 || p.y < -40 || p.x > width + 40 || p.y > height + 40) return;
    let reach = 12;
    if (atlas) {
      const c = atlas.cell(keyOf(m, count > maxSymbols));
      const k = Atlas.scale;
      if (c.w) g.drawImage(atlas.canvas, c.x, c.y, c.w, c.h, p.x - c.ax * k, p.y - c.ay * k, c.w * k, c.h * k);
      reach = (c.w - c.ax) * k + 3;
    } else if (m.icon || m.sym.startsWith('sidc')) reach = 20;
    if (tid === selected) {
      g.beginPath();
      g.arc(p.x, p.y, 17, 0, 2 * Math.PI);
      g.strokeStyle = colour('--accent');
      g.lineWidth = 2.5;
      g.stroke();
    }
    if (labels || tid === selected)
      texts.push({ x: p.x + reach, y: p.y, text: (m.callsign || m.uid).slice(0, 40), rank: tid === selected ? 0 : m.type.startsWith('b-a-o') ? 1 : 2 });
  });
  return label(g, texts);
}
