import { PMTiles } from 'pmtiles';
import { baseURL, type Base } from '../lib/layers.svelte';

const most = 192; // tiles that are kept
const atOnce = 6;

/** Pictures of a base map, for the map without WebGL. */
export class Raster {
  private readonly file: PMTiles;
  private readonly have = new Map<string, ImageBitmap | undefined>(); // undefined: none, or under way
  private under = 0;

  constructor(
    private readonly base: Base,
    private readonly onready: () => void,
  ) {
    this.file = new PMTiles(baseURL(base));
  }

  /** Draws what is in view: a box of 0 to 1 from the north-west corner, to which g is set. size: pixels of the world. */
  draw(g: CanvasRenderingContext2D, x0: number, y0: number, x1: number, y1: number, size: number) {
    const z = Math.max(this.base.minzoom, Math.min(this.base.maxzoom, Math.round(Math.log2(size / 256))));
    const n = 2 ** z;
    const clip = (v: number) => Math.max(0, Math.min(n - 1, Math.floor(v * n)));
    const [fx, fy, tx, ty] = [clip(x0), clip(y0), clip(x1), clip(y1)];
    if ((tx - fx + 1) * (ty - fy + 1) > most) return;
    for (let y = fy; y <= ty; y++) for (let x = fx; x <= tx; x++) this.tile(g, z, x, y);
  }

  private tile(g: CanvasRenderingContext2D, z: number, x: number, y: number) {
    const n = 2 ** z;
    this.load(z, x, y);
    for (let up = 0; up <= Math.min(z, 4); up++) { // what is not there yet is a part of a larger one
      const b = this.have.get(`${z - up}/${x >> up}/${y >> up}`);
      if (!b) continue;
      const k = 2 ** up;
      const w = b.width / k;
      g.drawImage(b, (x % k) * w, (y % k) * w, w, w, x / n, y / n, 1 / n, 1 / n);
      return;
    }
  }

  private load(z: number, x: number, y: number) {
    const key = `${z}/${x}/${y}`;
    if (this.have.has(key)) {
      const b = this.have.get(key);
      this.have.delete(key); // it is the newest now
      this.have.set(key, b);
      return;
    }
    if (this.under >= atOnce) return; // it is asked for at the next drawing
    this.under++;
    this.have.set(key, undefined);
    for (const [old, b] of this.have) {
      if (this.have.size <= most) break;
      b?.close();
      this.have.delete(old);
    }
    this.file
      .getZxy(z, x, y)
      .then(async (t) => t && this.have.set(key, await createImageBitmap(new Blob([t.data]))))
      .catch(() => undefined) // no picture: the place stays empty
      .finally(() => {
        this.under--;
        this.onready();
      });
  }

  close() {
    for (const b of this.have.values()) b?.close();
    this.have.clear();
  }
}
