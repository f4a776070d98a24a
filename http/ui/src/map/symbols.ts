import { Icons } from './icons';

/** Draws symbols, once each, into one picture. */
export interface Cell {
  x: number;
  y: number;
  w: number;
  h: number;
  ax: number; // of the anchor in the cell
  ay: number;
}

const scale = 2; // pixels of the atlas for one of the screen
const pad = 2;
const teams: Record<string, string> = {
  white: '#f5f5f5', yellow: '#ffd84a', orange: '#ff9a3c', magenta: '#f255d8', red: '#ff4a4a', maroon: '#a8384a', purple: '#a05cf0', 'dark blue': '#2f5bd8',
  blue: '#4a8cff', cyan: '#35d6e8', teal: '#1aa79a', green: '#46d160', 'dark green': '#1f8a3c', brown: '#a8744a',
};
const roles: Record<string, string> = { 'team lead': 'TL', hq: 'HQ', sniper: 'S', medic: '+', 'forward observer': 'FO', rto: 'R', k9: 'K9' };
const sides: Record<string, string> = { f: '#7fd4ff', h: '#ff8080', n: '#a6f0a0', u: '#ffff80' };

const nothing: Cell = { x: 0, y: 0, w: 0, h: 0, ax: 0, ay: 0 };

type Library = typeof import('milsymbol').default;

export class Atlas {
  readonly canvas = document.createElement('canvas');
  version = 0;
  loads = 0; // grows when what could not be drawn can be
  private readonly cells = new Map<string, Cell>();
  private readonly g: CanvasRenderingContext2D;
  private shelf = { x: pad, y: pad, h: 0 };
  private ms: Library | undefined;
  private asked = false;

  private readonly icons = new Icons(32 * scale, () => this.ready());

  constructor(private readonly onready: () => void) {
    this.canvas.width = this.canvas.height = 2048;
    this.g = this.canvas.getContext('2d', { willReadFrequently: true })!;
  }

  /** The cell of a key. What cannot be drawn yet is a dot meanwhile. */
  cell(key: string): Cell {
    const known = this.cells.get(key);
    if (known) return known;
    if (key === 'none') return nothing;
    if (key.startsWith('icon|')) {
      const [other, path] = key.slice(5).split('\n');
      const image = this.icons.get(path);
      return image ? this.keep(key, { picture: image, w: image.width, h: image.height, ax: image.width / 2, ay: image.height / 2 }) : this.cell(other);
    }
    const [kind, a, b = ''] = key.split('|');
    if (kind === 'team') return this.keep(key, this.team(a, b));
    if (kind === 'alarm') return this.keep(key, this.alarm());
    if (kind !== 'sidc') return this.keep(key, this.dot(sides[a] ?? sides.u, 9));
    const side = 'dot|' + ({ F: 'f', H: 'h', N: 'n' }[a[1]] ?? 'u');
    if (!this.ms) {
      this.load();
      return this.cell(side);
    }
    const s = new this.ms.Symbol(a, { size: 17 * scale });
    if (!s.isValid()) return this.cell(side);
    const c = s.asCanvas();
    const at = s.getAnchor();
    return this.keep(key, { picture: c, w: c.width, h: c.height, ax: at.x, ay: at.y });
  }

  private load() {
    if (this.asked) return;
    this.asked = true;
    void import('milsymbol').then((m) => {
      this.ms = m.default;
      this.ready();
    });
  }

  private ready() {
    this.loads++;
    this.onready();
  }

  private keep(key: string, s: { picture: HTMLCanvasElement | ImageBitmap; w: number; h: number; ax: number; ay: number }): Cell {
    if (this.shelf.x + s.w + pad > this.canvas.width) this.shelf = { x: pad, y: this.shelf.y + this.shelf.h + pad, h: 0 };
    if (this.shelf.y + s.h + pad > this.canvas.height) return this.full(key);
    const c = { x: this.shelf.x, y: this.shelf.y, w: s.w, h: s.h, ax: s.ax, ay: s.ay };
    this.g.drawImage(s.picture, c.x, c.y);
    this.shelf.x += s.w + pad;
    this.shelf.h = Math.max(this.shelf.h, s.h);
    this.cells.set(key, c);
    this.version++;
    return c;
  }

  /** Thousands of different symbols: the rest are dots. */
  private full(key: string): Cell {
    const dot = this.cells.get('dot|u') ?? { x: 0, y: 0, w: 0, h: 0, ax: 0, ay: 0 };
    if (this.cells.size < 20_000) this.cells.set(key, dot);
    return dot;
  }

  private dot(colour: string, size: number, text = '') {
    const c = document.createElement('canvas');
    c.width = c.height = (size + 3) * scale;
    const g = c.getContext('2d')!;
    const m = c.width / 2;
    g.beginPath();
    g.arc(m, m, (size / 2) * scale, 0, 2 * Math.PI);
    g.fillStyle = colour;
    g.fill();
    g.lineWidth = 1.5 * scale;
    g.strokeStyle = '#101418';
    g.stroke();
    if (text) {
      g.fillStyle = '#101418';
      g.font = `bold ${8 * scale}px sans-serif`;
      g.textAlign = 'center';
      g.textBaseline = 'middle';
      g.fillText(text, m, m + scale / 2);
    }
    return { picture: c, w: c.width, h: c.height, ax: m, ay: m };
  }

  private team(team: string, role: string) {
    return this.dot(teams[team.toLowerCase()] ?? '#c8d0d6', 16, roles[role.toLowerCase()] ?? '');
  }

  private alarm() {
    const d = this.dot('#ff2f2f', 20, '!');
    return d;
  }

  /** Screen pixels of one of the atlas. */
  static readonly scale = 1 / scale;
}
