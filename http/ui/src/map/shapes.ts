import { layers } from '../lib/layers.svelte';
import { offset } from '../lib/geo';
import { colour } from '../lib/theme';
import type { Shape, Tracks } from '../lib/tracks';
import type { View } from './draw';

const budget = 60_000; // points that are drawn at once

/** CSS of an ARGB number. */
const css = (argb: number) => `rgb(${(argb >>> 16) & 255} ${(argb >>> 8) & 255} ${argb & 255} / ${(argb >>> 24) / 255})`;

/** The outline in degrees: lon and lat in turn. */
export function outline(s: Shape, lon: number, lat: number): number[] {
  if (s.kind !== 'circle') return s.at.map((v) => v / 1e7);
  const out: number[] = [];
  const [a, b] = s.radius ?? [0, 0];
  const turn = ((s.angle ?? 0) * Math.PI) / 180;
  for (let i = 0; i <= 64; i++) {
    const t = (i / 64) * 2 * Math.PI;
    const [x, y] = [a * Math.cos(t), b * Math.sin(t)]; // along the angle, and across
    out.push(...offset(lon, lat, x * Math.sin(turn) + y * Math.cos(turn), x * Math.cos(turn) - y * Math.sin(turn)));
  }
  return out;
}

/** Draws drawings and routes; returns how many. */
export function drawShapes(g: CanvasRenderingContext2D, tracks: Tracks, view: View, selected: number): number {
  if (!layers.shapes) return 0;
  let left = budget;
  let drawn = 0;
  for (const tid of tracks.shaped) {
    const m = tracks.meta[tid];
    if (!m?.shape || !layers.shows(m)) continue;
    const line = outline(m.shape, tracks.lon[tid] / 1e7, tracks.lat[tid] / 1e7);
    if ((left -= line.length / 2) < 0) break;
    const s = m.shape;
    g.beginPath();
    for (let i = 0; i < line.length; i += 2) {
      const p = view.project(line[i], line[i + 1]);
      if (i) g.lineTo(p.x, p.y);
      else g.moveTo(p.x, p.y);
    }
    if (s.kind !== 'line') {
      g.closePath();
      if (s.fill) {
        g.fillStyle = css(s.fill);
        g.fill();
      }
    }
    g.lineWidth = (s.width || 3) * 0.8 + (tid === selected ? 2 : 0);
    g.strokeStyle = s.stroke ? css(s.stroke) : colour('--accent');
    g.stroke();
    waypoints(g, s, view);
    drawn++;
  }
  return drawn;
}

/** A route's points that have names. */
function waypoints(g: CanvasRenderingContext2D, s: Shape, view: View) {
  g.fillStyle = colour('--text');
  g.font = '11px system-ui, "DejaVu Sans", sans-serif';
  s.points?.forEach((name, i) => {
    if (!name) return;
    const p = view.project(s.at[2 * i] / 1e7, s.at[2 * i + 1] / 1e7);
    g.beginPath();
    g.arc(p.x, p.y, 3.5, 0, 2 * Math.PI);
    g.fill();
    if (layers.labels) g.fillText(name, p.x + 6, p.y - 6);
  });
}

/** How far, in pixels, a place of the screen is from the outline of a shape. */
export function distanceTo(s: Shape, lon: number, lat: number, view: View, x: number, y: number): number {
  const line = outline(s, lon, lat);
  if (s.kind !== 'line') line.push(line[0], line[1]);
  let best = Infinity;
  let a = view.project(line[0], line[1]);
  for (let i = 2; i < line.length; i += 2) {
    const b = view.project(line[i], line[i + 1]);
    const [dx, dy] = [b.x - a.x, b.y - a.y];
    const t = Math.max(0, Math.min(1, ((x - a.x) * dx + (y - a.y) * dy) / (dx * dx + dy * dy || 1)));
    best = Math.min(best, Math.hypot(a.x + t * dx - x, a.y + t * dy - y));
    a = b;
  }
  return best;
}
