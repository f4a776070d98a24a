/** What seldom changes of a track. */
export interface Meta {
  tid: number;
  uid: string;
  callsign: string;
  type: string;
  sym: string;
  team?: string;
  role?: string;
  how?: string;
  user?: string;
  batt?: string;
  alarm?: string;
  icon?: string; // iconset path of an image that the server has
  groups: string[];
  shape?: Shape;
}

/** The geometry of a drawing, a route or a circle. */
export interface Shape {
  kind: 'line' | 'area' | 'circle';
  at: number[]; // lon and lat in turn, 1e-7 degrees; of a circle none: it is round the point
  radius?: [number, number]; // metres, north and east
  angle?: number; // degrees
  stroke?: number; // ARGB
  fill?: number;
  width?: number;
  points?: string[]; // names of a route's points, "" for those without
}

const header = 24;
export const unknown = 65535;

/** All tracks, in columns by tid: no object for each, nothing reactive. */
export class Tracks {
  lon = new Int32Array(1024); // 1e-7 degrees
  lat = new Int32Array(1024);
  course = new Uint16Array(1024); // 0.01 degrees
  speed = new Uint16Array(1024); // 0.1 m/s
  alt = new Int16Array(1024); // metres
  at = new Float64Array(1024); // Unix ms of the report
  meta: (Meta | undefined)[] = [];
  readonly shaped = new Set<number>(); // tids of those with a shape
  count = 0;
  version = 0; // grows with each change
  named = 0; // grows when a meta comes or goes

  /** past: the clock is that of the frames, not that of this machine. */
  constructor(private readonly past = false) {}

  private grow(tid: number) {
    if (tid < this.lon.length) return;
    const size = 1 << (32 - Math.clz32(tid));
    const larger = <T extends Int32Array | Uint16Array | Int16Array | Float64Array>(a: T, b: T) => (b.set(a as never), b);
    this.lon = larger(this.lon, new Int32Array(size));
    this.lat = larger(this.lat, new Int32Array(size));
    this.course = larger(this.course, new Uint16Array(size));
    this.speed = larger(this.speed, new Uint16Array(size));
    this.alt = larger(this.alt, new Int16Array(size));
    this.at = larger(this.at, new Float64Array(size));
  }

  clear() {
    this.meta = [];
    this.shaped.clear();
    this.count = 0;
    this.version++;
    this.named++;
  }

  name(list: Meta[]) {
    for (const m of list) {
      this.grow(m.tid);
      if (!this.meta[m.tid]) {
        this.count++;
        this.at[m.tid] = 0;
      }
      this.meta[m.tid] = m;
      if (m.shape) this.shaped.add(m.tid);
      else this.shaped.delete(m.tid);
    }
    this.named++;
    this.version++;
  }

  /** Takes in a binary message; returns its seq where it is the last one of it. */
  frame(b: ArrayBuffer): number | undefined {
    const v = new DataView(b);
    if (b.byteLength < header || v.getUint8(0) !== 1) throw new Error('a frame of another version');
    const n = v.getUint32(16, true);
    const kind = v.getUint8(1);
    const tid = new Uint32Array(b, header, n);
    if (kind === 3) for (const t of tid) this.remove(t);
    else if (kind === 2) this.move(b, tid, n, this.past ? Number(v.getBigUint64(8, true)) : Date.now());
    this.version++;
    return v.getUint16(2, true) & 1 ? v.getUint32(4, true) : undefined;
  }

  private remove(tid: number) {
    if (!this.meta[tid]) return;
    this.meta[tid] = undefined;
    this.shaped.delete(tid);
    this.count--;
    this.named++;
  }

  private move(b: ArrayBuffer, tid: Uint32Array, n: number, now: number) {
    let at = header + 4 * n;
    const lon = new Int32Array(b, at, n);
    const lat = new Int32Array(b, (at += 4 * n), n);
    const course = new Uint16Array(b, (at += 4 * n), n);
    const speed = new Uint16Array(b, (at += 2 * n), n);
    const alt = new Int16Array(b, (at += 2 * n), n);
    const age = new Uint16Array(b, (at += 2 * n), n);
    for (let i = 0; i < n; i++) {
      const t = tid[i];
      this.lon[t] = lon[i];
      this.lat[t] = lat[i];
      this.course[t] = course[i];
      this.speed[t] = speed[i];
      this.alt[t] = alt[i];
      this.at[t] = now - age[i] * 1000;
    }
  }

  /** Runs f for each track. */
  each(f: (tid: number, m: Meta) => void) {
    for (let i = 1; i < this.meta.length; i++) {
      const m = this.meta[i];
      if (m) f(i, m);
    }
  }

  find(uid: string): number {
    return this.meta.findIndex((m) => m?.uid === uid);
  }
}
