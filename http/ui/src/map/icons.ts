/** Images of icon sets, which come from this server when somebody wants to draw them. Others made them: they are as hostile as they like. */
const most = 400; // that are remembered
const wide = 4; // that are asked for at once
const pixels = 1024; // of an image, each way
const bytes = 1 << 20;

export class Icons {
  private readonly known = new Map<string, ImageBitmap | null>(); // null: there is none, or none that can be used
  private readonly waiting: string[] = [];
  private busy = 0;

  /** side: how many pixels the larger side of an image gets. */
  constructor(
    private readonly side: number,
    private readonly onready: () => void,
  ) {}

  /** The image at an iconset path; undefined: not, or not yet. */
  get(path: string): ImageBitmap | undefined {
    const known = this.known.get(path);
    if (known === undefined && this.known.size < most) {
      this.known.set(path, null);
      this.waiting.push(path);
      this.next();
    }
    return known ?? undefined;
  }

  private next() {
    for (; this.busy < wide && this.waiting.length; this.busy++) {
      const path = this.waiting.shift()!;
      void this.load(path)
        .then((image) => {
          this.known.set(path, image);
          this.onready();
        })
        .catch(() => undefined) // it has the symbol of its type
        .finally(() => {
          this.busy--;
          this.next();
        });
    }
  }

  private async load(path: string): Promise<ImageBitmap> {
    const r = await fetch('/Marti/api/iconimage?iconsetpath=' + encodeURIComponent(path), { credentials: 'same-origin' });
    if (!r.ok) throw new Error(String(r.status));
    const b = await r.arrayBuffer();
    const size = b.byteLength <= bytes && sizeOf(new Uint8Array(b));
    if (!size || size[0] < 1 || size[1] < 1 || size[0] > pixels || size[1] > pixels) throw new Error('no image that can be used');
    const k = this.side / Math.max(...size);
    const to = (n: number) => Math.max(1, Math.round(n * k));
    return createImageBitmap(new Blob([b]), { resizeWidth: to(size[0]), resizeHeight: to(size[1]), resizeQuality: 'high' });
  }
}

/** Width and height that an image says it has, so that a small file cannot unfold to a large one. */
export function sizeOf(b: Uint8Array): [number, number] | undefined {
  if (b.length < 30) return undefined;
  const v = new DataView(b.buffer, b.byteOffset, b.length);
  const text = (at: number, n: number) => String.fromCharCode(...b.subarray(at, at + n));
  if (text(1, 3) === 'PNG' && text(12, 4) === 'IHDR') return [v.getUint32(16), v.getUint32(20)];
  if (text(0, 3) === 'GIF') return [v.getUint16(6, true), v.getUint16(8, true)];
  if (text(0, 4) === 'RIFF' && text(8, 4) === 'WEBP') {
    const form = text(12, 4);
    if (form === 'VP8 ') return [v.getUint16(26, true) & 0x3fff, v.getUint16(28, true) & 0x3fff];
    if (form === 'VP8L') return [(v.getUint32(21, true) & 0x3fff) + 1, ((v.getUint32(21, true) >> 14) & 0x3fff) + 1];
    if (form === 'VP8X') return [(v.getUint32(24, true) & 0xffffff) + 1, (v.getUint16(27, true) | (b[29] << 16)) + 1];
    return undefined;
  }
  if (b[0] !== 0xff || b[1] !== 0xd8) return undefined;
  for (let at = 2; at + 9 < b.length && b[at] === 0xff; at += 2 + v.getUint16(at + 2)) { // JPEG: the frame's header
    const kind = b[at + 1];
    if (kind >= 0xc0 && kind <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(kind)) return [v.getUint16(at + 7), v.getUint16(at + 5)];
  }
  return undefined;
}
