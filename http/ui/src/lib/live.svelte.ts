import { Tracks, type Meta } from './tracks';

/** The live feed: one WebSocket, which comes back by itself. */
class Live {
  /** For the page; the tracks themselves are not reactive. */
  state = $state<'connecting' | 'on' | 'lost'>('connecting');
  version = $state(0); // of the tracks, at most four times a second
  groups = $state.raw<string[]>([]);
  all = $state(false); // an administrator looks at every group

  hears: ((m: { t: string }) => void) | undefined; // gets what is no track
  onopen: (() => void) | undefined;

  readonly tracks = new Tracks();
  private socket: WebSocket | undefined;
  private wanted = false;
  private key = '';
  private epoch = 0;
  private seq = 0;
  private tries = 0;
  private view: number[] | undefined;
  private timer = 0;
  private again = 0;

  start() {
    if (this.wanted) return;
    this.wanted = true;
    this.timer = window.setInterval(() => {
      if (this.version !== this.tracks.version) this.version = this.tracks.version;
    }, 250);
    document.addEventListener('visibilitychange', this.tell);
    this.connect();
  }

  stop() {
    this.wanted = false;
    clearInterval(this.timer);
    clearTimeout(this.again);
    document.removeEventListener('visibilitychange', this.tell);
    this.socket?.close();
    this.tracks.clear();
    this.key = '';
    this.all = false;
    this.state = 'connecting';
  }

  /** Asks for every group, which is for administrators, or for the user's own. */
  everyGroup(on: boolean) {
    this.all = on;
    this.send({ t: 'all', on });
  }

  /** Tells the server what is shown: west, south, east, north. */
  show(box: number[]) {
    this.view = box;
    this.tell();
  }

  private tell = () => {
    this.send({ t: 'view', box: this.view, paused: document.hidden });
  };

  send(v: unknown) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(v));
  }

  private connect() {
    const s = new WebSocket(`wss://${location.host}/api/v1/live`);
    this.socket = s;
    s.binaryType = 'arraybuffer';
    s.onopen = () => {
      this.send({ t: 'hello', key: this.key, epoch: this.epoch, seq: this.seq });
      this.tell();
    };
    s.onmessage = (e) => this.take(e.data as ArrayBuffer | string);
    s.onclose = () => {
      if (!this.wanted || this.socket !== s) return;
      this.state = 'lost';
      const wait = Math.min(15_000, 500 * 2 ** this.tries++) * (0.5 + Math.random());
      this.again = window.setTimeout(() => this.connect(), wait);
    };
  }

  private take(data: ArrayBuffer | string) {
    if (typeof data !== 'string') {
      const seq = this.tracks.frame(data);
      if (seq === undefined) return;
      this.seq = seq;
      this.send({ t: 'ack', seq });
      return;
    }
    const m = JSON.parse(data) as { t: string; list?: Meta[]; key: string; epoch: number; resumed: boolean; groups: string[]; all: boolean };
    if (m.t === 'meta') this.tracks.name(m.list ?? []);
    else if (m.t === 'welcome') {
      if (!m.resumed) {
        this.tracks.clear();
        this.seq = 0;
      }
      this.key = m.key;
      this.epoch = m.epoch;
      this.groups = m.groups;
      this.tries = 0;
      this.state = 'on';
      if (this.all) this.everyGroup(true);
      this.onopen?.();
    } else if (m.t === 'groups') {
      this.groups = m.groups;
      this.all = m.all;
    } else this.hears?.(m);
  }
}

export const live = new Live();
