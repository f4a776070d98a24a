import { Map as MapLibre, ScaleControl, setWorkerUrl, type CustomLayerInterface, type CustomRenderMethodInput, type StyleSpecification } from 'maplibre-gl';
import worker from 'maplibre-gl/dist/maplibre-gl-worker.mjs?url';
import 'maplibre-gl/dist/maplibre-gl.css';
import { mercatorX, mercatorY } from '../lib/geo';
import { layers, type Base } from '../lib/layers.svelte';
import { colour } from '../lib/theme';
import type { Tracks } from '../lib/tracks';
import { setBase } from './base';
import { inView, keyOf, maxSymbols, type View } from './draw';
import { Atlas } from './symbols';
import { graticule, world } from './world';

setWorkerUrl(worker);

const vertex = `#version 300 es
uniform mat4 matrix; uniform vec2 screen; uniform float atlas;
in vec2 place; in vec4 cell; in vec2 anchor;
out vec2 uv;
const vec2 corners[4] = vec2[](vec2(0, 0), vec2(1, 0), vec2(0, 1), vec2(1, 1));
void main() {
  vec2 c = corners[gl_VertexID];
  vec4 p = matrix * vec4(place, 0, 1);
  vec2 px = (c * cell.zw - anchor) * ${Atlas.scale.toFixed(3)};
  p.xy += vec2(px.x, -px.y) / screen * 2.0 * p.w;
  gl_Position = p;
  uv = (cell.xy + c * cell.zw) / atlas;
}`;
const fragment = `#version 300 es
precision mediump float;
uniform sampler2D picture;
in vec2 uv; out vec4 colour;
void main() { colour = texture(picture, uv); }`;

function program(gl: WebGL2RenderingContext): WebGLProgram {
  const p = gl.createProgram()!;
  for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]] as const) {
    const s = gl.createShader(kind)!;
    gl.shaderSource(s, source);
    gl.compileShader(s);
    gl.attachShader(p, s);
  }
  gl.linkProgram(p);
  if (!gl.getProgramParameter(p, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(p) ?? 'shader');
  return p;
}

/** Draws a symbol out of sight and looks at it: some machines say that they have WebGL, and draw nothing. */
export function trusted(): boolean {
  try {
    const c = document.createElement('canvas');
    c.width = c.height = 16;
    const gl = c.getContext('webgl2', { failIfMajorPerformanceCaveat: false });
    if (!gl) return false;
    const d = new Drawing(gl);
    const px = document.createElement('canvas');
    px.width = px.height = 16;
    const g = px.getContext('2d')!;
    g.fillStyle = '#ff0000';
    g.fillRect(0, 0, 16, 16);
    d.picture(px);
    d.upload(new Float32Array([0, 0, 0, 0, 16, 16, 8, 8]), 1);
    gl.viewport(0, 0, 16, 16);
    d.draw(new Float32Array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]), 16, 16, 16);
    const out = new Uint8Array(4);
    gl.readPixels(8, 8, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, out);
    gl.getExtension('WEBGL_lose_context')?.loseContext();
    return out[0] > 200 && out[1] < 50;
  } catch {
    return false;
  }
}

/** The buffers and the program that draw all symbols with one call. */
class Drawing {
  private readonly program: WebGLProgram;
  private readonly buffer: WebGLBuffer;
  private readonly texture: WebGLTexture;
  private readonly array: WebGLVertexArrayObject;
  private count = 0;

  constructor(private readonly gl: WebGL2RenderingContext) {
    this.program = program(gl);
    this.buffer = gl.createBuffer()!;
    this.texture = gl.createTexture()!;
    this.array = gl.createVertexArray()!;
    gl.bindVertexArray(this.array);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffer);
    for (const [name, size, at] of [['place', 2, 0], ['cell', 4, 8], ['anchor', 2, 24]] as const) {
      const loc = gl.getAttribLocation(this.program, name);
      gl.enableVertexAttribArray(loc);
      gl.vertexAttribPointer(loc, size, gl.FLOAT, false, 32, at);
      gl.vertexAttribDivisor(loc, 1);
    }
    gl.bindVertexArray(null);
  }

  picture(c: HTMLCanvasElement) {
    const gl = this.gl;
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, true);
    gl.pixelStorei(gl.UNPACK_FLIP_Y_WEBGL, false);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, c);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  }

  upload(rows: Float32Array, n: number) {
    this.count = n;
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffer);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, rows.subarray(0, n * 8), this.gl.DYNAMIC_DRAW);
  }

  draw(matrix: Float32Array, width: number, height: number, atlas: number) {
    const gl = this.gl;
    if (!this.count) return;
    gl.useProgram(this.program);
    gl.bindVertexArray(this.array);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, this.texture);
    gl.uniformMatrix4fv(gl.getUniformLocation(this.program, 'matrix'), false, matrix);
    gl.uniform2f(gl.getUniformLocation(this.program, 'screen'), width, height);
    gl.uniform1f(gl.getUniformLocation(this.program, 'atlas'), atlas);
    gl.uniform1i(gl.getUniformLocation(this.program, 'picture'), 0);
    gl.disable(gl.DEPTH_TEST);
    gl.disable(gl.STENCIL_TEST);
    gl.disable(gl.CULL_FACE);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.drawArraysInstanced(gl.TRIANGLE_STRIP, 0, 4, this.count);
    gl.bindVertexArray(null);
  }
}

/** The track layer: places are relative to an origin near by, since a float is too short for the world. */
class TrackLayer implements CustomLayerInterface {
  readonly id = 'tracks';
  readonly type = 'custom' as const;
  readonly renderingMode = '2d' as const;
  private drawing: Drawing | undefined;
  private rows = new Float32Array(8 * 1024);
  private origin = { x: 0.5, y: 0.5 };
  private fresh: { of?: Tracks; hidden?: unknown; shapes?: boolean; loads?: number; tracks: number; atlas: number; x: number; y: number } = { tracks: -1, atlas: -1, x: -1, y: -1 };

  constructor(
    private readonly tracks: () => Tracks,
    private readonly atlas: Atlas,
    private readonly view: GLMap,
  ) {}

  onAdd(_: MapLibre, gl: WebGLRenderingContext | WebGL2RenderingContext) {
    this.drawing = new Drawing(gl as WebGL2RenderingContext);
    this.fresh = { tracks: -1, atlas: -1, x: -1, y: -1 };
  }

  render(_: WebGLRenderingContext | WebGL2RenderingContext, args: CustomRenderMethodInput) {
    const d = this.drawing!;
    const c = this.view.map.getCenter();
    const x = mercatorX(c.lng);
    const y = mercatorY(c.lat);
    const t = this.tracks();
    if (this.fresh.of !== t || this.fresh.hidden !== layers.hidden || this.fresh.shapes !== layers.shapes || this.fresh.loads !== this.atlas.loads || this.fresh.tracks !== t.version || this.fresh.x !== x || this.fresh.y !== y) {
      this.origin = { x, y };
      this.fill(d);
      this.fresh = { ...this.fresh, of: t, hidden: layers.hidden, shapes: layers.shapes, loads: this.atlas.loads, tracks: t.version, x, y };
    }
    if (this.fresh.atlas !== this.atlas.version) {
      d.picture(this.atlas.canvas);
      this.fresh.atlas = this.atlas.version;
    }
    const m = args.defaultProjectionData.mainMatrix;
    const moved = new Float32Array(16);
    for (let i = 0; i < 16; i++) moved[i] = m[i];
    for (let r = 0; r < 4; r++) moved[12 + r] = m[r] * this.origin.x + m[4 + r] * this.origin.y + m[12 + r];
    const canvas = this.view.map.getCanvas();
    d.draw(moved, canvas.clientWidth, canvas.clientHeight, this.atlas.canvas.width);
  }

  private fill(d: Drawing) {
    const t = this.tracks();
    if (this.rows.length < t.meta.length * 8) this.rows = new Float32Array(t.meta.length * 12);
    const dense = inView(t, this.view.box()) > maxSymbols;
    let n = 0;
    t.each((tid, m) => {
      if (!layers.shows(m)) return;
      const c = this.atlas.cell(keyOf(m, dense));
      const o = 8 * n++;
      this.rows[o] = mercatorX(t.lon[tid] / 1e7) - this.origin.x;
      this.rows[o + 1] = mercatorY(t.lat[tid] / 1e7) - this.origin.y;
      this.rows[o + 2] = c.x;
      this.rows[o + 3] = c.y;
      this.rows[o + 4] = c.w;
      this.rows[o + 5] = c.h;
      this.rows[o + 6] = c.ax;
      this.rows[o + 7] = c.ay;
    });
    d.upload(this.rows, n);
  }
}

function style(): StyleSpecification {
  const empty = { type: 'FeatureCollection' as const, features: [] };
  return {
    version: 8,
    sources: {
      land: { type: 'geojson', data: empty, tolerance: 0.2 },
      borders: { type: 'geojson', data: empty, tolerance: 0.2 },
      grid: { type: 'geojson', data: { type: 'Feature', properties: {}, geometry: graticule(10) } },
      fine: { type: 'geojson', data: { type: 'Feature', properties: {}, geometry: graticule(1) } },
    },
    layers: [
      { id: 'sea', type: 'background', paint: { 'background-color': colour('--sea') } },
      { id: 'land', type: 'fill', source: 'land', paint: { 'fill-color': colour('--land') } },
      { id: 'fine', type: 'line', source: 'fine', minzoom: 5, paint: { 'line-color': colour('--grid'), 'line-width': 1 } },
      { id: 'grid', type: 'line', source: 'grid', paint: { 'line-color': colour('--grid'), 'line-width': 1 } },
      { id: 'borders', type: 'line', source: 'borders', paint: { 'line-color': colour('--border'), 'line-width': 1 } },
    ],
  };
}

/** The map with WebGL. */
export class GLMap implements View {
  readonly map: MapLibre;
  private loaded = false;
  private base: Base | undefined;
  private want = { world: true, grid: true };

  constructor(box: HTMLElement, tracks: () => Tracks, atlas: Atlas, onmove: () => void, onclick: (x: number, y: number) => void) {
    this.map = new MapLibre({
      container: box, style: style(), center: [0, 30], zoom: 1.6, attributionControl: false, renderWorldCopies: false, dragRotate: false, pitchWithRotate: false, maxZoom: 20,
    });
    this.map.addControl(new ScaleControl({ maxWidth: 140 }), 'bottom-right');
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    this.map.on('load', () => {
      this.loaded = true;
      this.map.addLayer(new TrackLayer(tracks, atlas, this));
      this.lay(this.base);
      void world().then((w) => {
        this.source('land')?.setData(w.land);
        this.source('borders')?.setData({ type: 'Feature', properties: {}, geometry: w.borders });
      });
      onmove();
    });
    this.map.on('move', onmove);
    this.map.on('resize', onmove);
    this.map.on('click', (e) => onclick(e.point.x, e.point.y));
  }

  ground(base: Base | undefined, world: boolean, grid: boolean) {
    const other = base?.name !== this.base?.name || base?.tag !== this.base?.tag;
    this.base = base;
    this.want = { world, grid };
    if (this.loaded) this.lay(other ? base : null);
  }

  /** null: the base map is the one that is there. */
  private lay(base: Base | undefined | null) {
    const show = (on: boolean, ...ids: string[]) => ids.forEach((id) => this.map.setLayoutProperty(id, 'visibility', on ? 'visible' : 'none'));
    show(this.want.world, 'land', 'borders');
    show(this.want.grid, 'grid', 'fine');
    if (base !== null) setBase(this.map, base, 'fine').catch((e) => console.warn('base map', e));
  }

  private source(id: string) {
    return this.map.getSource<import('maplibre-gl').GeoJSONSource>(id);
  }

  project(lon: number, lat: number) {
    return this.map.project([lon, lat]);
  }

  unproject(x: number, y: number) {
    const p = this.map.unproject([x, y]);
    return { lon: p.lng, lat: p.lat };
  }

  box(): [number, number, number, number] {
    const b = this.map.getBounds();
    return [b.getWest(), b.getSouth(), b.getEast(), b.getNorth()];
  }

  fly(lon: number, lat: number, zoom?: number) {
    this.map.easeTo({ center: [lon, lat], zoom: Math.max(this.map.getZoom(), zoom ?? 0), duration: 300 });
  }

  fit(w: number, s: number, e: number, n: number) {
    this.map.fitBounds([w, s, e, n], { padding: 90, maxZoom: 13, duration: 300 });
  }

  theme() {
    if (!this.map.isStyleLoaded()) return;
    this.map.setPaintProperty('sea', 'background-color', colour('--sea'));
    this.map.setPaintProperty('fine', 'line-color', colour('--grid'));
    this.map.setPaintProperty('grid', 'line-color', colour('--grid'));
    this.map.setPaintProperty('land', 'fill-color', colour('--land'));
    this.map.setPaintProperty('borders', 'line-color', colour('--border'));
    if (this.base?.type === 'mvt') this.lay(this.base);
  }

  redraw() {
    this.map.triggerRepaint();
  }

  destroy() {
    this.map.remove();
  }
}
