import { colour } from '../lib/theme';
import { latOf, lonOf, mercatorX, mercatorY } from '../lib/geo';
import type { Base } from '../lib/layers.svelte';
import type { View } from './draw';
import { Raster } from './raster';
import { graticule, world } from './world';

type Ring = Float64Array; // x and y in turn, Web Mercator

/** The simple map: land and borders on a 2D canvas, for machines without WebGL. */
export class CanvasMap implements View {
  private readonly canvas = document.createElement('canvas');
  private readonly g = this.canvas.getContext('2d')!;
  private x = 0.5;
  private y = 0.42;
  private zoom = 1.6;
  private land: Path2D | undefined;
  private lines: Path2D | undefined;
  private readonly grid = path(graticule(10).coordinates.map(ring));
  private readonly fine = path(graticule(1).coordinates.map(ring));
  private raster: Raster | undefined;
  private base: Base | undefined;
  private outlines = true;
  private lined = true;
  private frame = 0;
  private readonly watch: ResizeObserver;

  constructor(
    private readonly box_: HTMLElement,
    private readonly onmove: () => void,
    onclick: (x: number, y: number) => void,
  ) {
    box_.append(this.canvas);
    this.canvas.className = 'base';
    this.canvas.tabIndex = 0;
    this.canvas.onkeydown = (e) => this.key(e);
    this.watch = new ResizeObserver(() => this.redraw());
    this.watch.observe(box_);
    this.pointer(onclick);
    void world().then((w) => {
      const rings: Ring[] = [];
      for (const f of w.land.features) {
        if (f.geometry.type === 'Polygon') rings.push(...f.geometry.coordinates.map(ring));
        if (f.geometry.type === 'MultiPolygon') rings.push(...f.geometry.coordinates.flat().map(ring));
      }
      this.land = path(rings, true);
      this.lines = path(w.borders.coordinates.map(ring));
      this.redraw();
    });
  }

  private get size() {
    return 512 * 2 ** this.zoom;
  }

  project(lon: number, lat: number) {
    const s = this.size;
    return { x: (mercatorX(lon) - this.x) * s + this.box_.clientWidth / 2, y: (mercatorY(lat) - this.y) * s + this.box_.clientHeight / 2 };
  }

  unproject(x: number, y: number) {
    const s = this.size;
    return { lon: lonOf(this.x + (x - this.box_.clientWidth / 2) / s), lat: latOf(this.y + (y - this.box_.clientHeight / 2) / s) };
  }

  ground(base: Base | undefined, outlines: boolean, grid: boolean) {
    if (base?.name !== this.base?.name || base?.tag !== this.base?.tag) {
      this.raster?.close();
      this.raster = base && base.type !== 'mvt' ? new Raster(base, () => this.redraw()) : undefined;
      this.base = base;
    }
    [this.outlines, this.lined] = [outlines, grid];
    this.redraw();
  }

  box(): [number, number, number, number] {
    const w = this.box_.clientWidth / 2 / this.size;
    const h = this.box_.clientHeight / 2 / this.size;
    return [lonOf(this.x - w), latOf(Math.min(1, this.y + h)), lonOf(this.x + w), latOf(Math.max(0, this.y - h))];
  }

  fly(lon: number, lat: number, zoom = this.zoom) {
    this.move(mercatorX(lon), mercatorY(lat), Math.max(zoom, this.zoom));
  }

  fit(w: number, s: number, e: number, n: number) {
    const dx = Math.max(1e-6, mercatorX(e) - mercatorX(w));
    const dy = Math.max(1e-6, mercatorY(s) - mercatorY(n));
    const zoom = Math.log2(Math.min((this.box_.clientWidth * 0.7) / dx, (this.box_.clientHeight * 0.7) / dy) / 512);
    this.move((mercatorX(e) + mercatorX(w)) / 2, (mercatorY(s) + mercatorY(n)) / 2, Math.min(13, zoom));
  }

  private move(x: number, y: number, zoom: number) {
    this.x = Math.min(1, Math.max(0, x));
    this.y = Math.min(1, Math.max(0, y));
    this.zoom = Math.min(18, Math.max(0, zoom));
    this.redraw();
  }

  theme() {
    this.redraw();
  }

  redraw() {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.paint());
  }

  private paint() {
    this.frame = 0;
    const r = devicePixelRatio;
    const { clientWidth: w, clientHeight: h } = this.box_;
    if (this.canvas.width !== w * r || this.canvas.height !== h * r) {
      this.canvas.width = w * r;
      this.canvas.height = h * r;
    }
    const s = this.size * r;
    const g = this.g;
    g.setTransform(1, 0, 0, 1, 0, 0);
    g.fillStyle = colour('--sea');
    g.fillRect(0, 0, w * r, h * r);
    g.setTransform(s, 0, 0, s, (w * r) / 2 - this.x * s, (h * r) / 2 - this.y * s);
    g.lineWidth = r / s;
    if (this.land && this.outlines) {
      g.fillStyle = colour('--land');
      g.fill(this.land);
    }
    if (this.raster) {
      const [dx, dy] = [w / 2 / this.size, h / 2 / this.size];
      this.raster.draw(g, this.x - dx, this.y - dy, this.x + dx, this.y + dy, s);
    }
    if (this.lined) {
      g.strokeStyle = colour('--grid');
      g.stroke(this.grid);
      if (this.zoom > 5) g.stroke(this.fine);
    }
    if (this.lines && this.outlines) {
      g.strokeStyle = colour('--border');
      g.stroke(this.lines);
    }
    this.onmove();
  }

  /** The same keys as the other map: arrows, plus and minus. */
  private key(e: KeyboardEvent) {
    const step = 100 / this.size;
    const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[e.key];
    const zoom = { '+': 1, '=': 1, '-': -1 }[e.key];
    if (e.ctrlKey || e.metaKey || e.altKey || (!by && !zoom)) return;
    e.preventDefault();
    this.move(this.x + (by?.[0] ?? 0), this.y + (by?.[1] ?? 0), this.zoom + (zoom ?? 0));
  }

  private pointer(onclick: (x: number, y: number) => void) {
    const c = this.canvas;
    let from: { x: number; y: number } | undefined;
    let moved = false;
    c.onpointerdown = (e) => {
      from = { x: e.clientX, y: e.clientY };
      moved = false;
      c.setPointerCapture(e.pointerId);
    };
    c.onpointermove = (e) => {
      if (!from) return;
      if (!moved && Math.hypot(e.clientX - from.x, e.clientY - from.y) < 4) return;
      moved = true;
      this.move(this.x - (e.clientX - from.x) / this.size, this.y - (e.clientY - from.y) / this.size, this.zoom);
      from = { x: e.clientX, y: e.clientY };
    };
    c.onpointerup = (e) => {
      from = undefined;
      const b = c.getBoundingClientRect();
      if (!moved) onclick(e.clientX - b.left, e.clientY - b.top);
    };
    c.onwheel = (e) => {
      e.preventDefault();
      const b = c.getBoundingClientRect();
      const dx = e.clientX - b.left - b.width / 2;
      const dy = e.clientY - b.top - b.height / 2;
      const zoom = Math.min(18, Math.max(0, this.zoom - e.deltaY / 300));
      const k = 1 / this.size - 1 / (512 * 2 ** zoom);
      this.move(this.x + dx * k, this.y + dy * k, zoom);
    };
  }

  destroy() {
    cancelAnimationFrame(this.frame);
    this.raster?.close();
    this.watch.disconnect();
    this.canvas.remove();
  }
}

function ring(line: number[][]): Ring {
  const r = new Float64Array(line.length * 2);
  line.forEach(([lon, lat], i) => {
    r[2 * i] = mercatorX(lon);
    r[2 * i + 1] = mercatorY(lat);
  });
  return r;
}

function path(rings: Ring[], close = false): Path2D {
  const p = new Path2D();
  for (const r of rings) {
    p.moveTo(r[0], r[1]);
    for (let i = 2; i < r.length; i += 2) p.lineTo(r[i], r[i + 1]);
    if (close) p.closePath();
  }
  return p;
}
