import { get, Refused, told } from './api';
import { live } from './live.svelte';
import { Tracks, type Meta } from './tracks';

export const rates = [1, 10, 60, 600];

interface Told {
  t: string;
  list?: Meta[];
  groups?: string[];
  at?: string;
  rate?: number;
}

/** A replay: tracks of its own, as they were, by a WebSocket of its own. */
class Replay {
  /** off: the map is live. failed: error tells why there is none. */
  state = $state<'off' | 'opening' | 'playing' | 'paused' | 'ended' | 'failed'>('off');
  version = $state(0); // of the tracks, at most four times a second
  groups = $state.raw<string[]>([]);
  at = $state(0); // its clock, Unix ms
  rate = $state(10);
  since = $state(0);
  until = $state(0);
  error = $state('');

  readonly tracks = new Tracks(true);
  private socket: WebSocket | undefined;
  private box: number[] | undefined;
  private heard = { at: 0, wall: 0 }; // what the server's clock was, and when
  private timer = 0;
  private seeking = 0;
  private tries = 0;
  private held = false; // it is to be paused
  private seen = false; // it has begun

  get on() {
    return this.state !== 'off';
  }

  /** Shows what was from since until until (Unix ms), in a box where there is one; it begins at at. */
  start(since: number, until: number, box?: number[], at = since, paused = false) {
    this.stop();
    [this.since, this.until, this.box, this.at, this.held] = [since, until, box, Math.min(until, Math.max(since, at)), paused];
    this.state = 'opening';
    this.seen = false;
    this.timer = window.setInterval(() => this.tick(), 250);
    this.connect();
  }

  stop() {
    clearInterval(this.timer);
    clearTimeout(this.seeking);
    const s = this.socket;
    this.socket = undefined;
    s?.close();
    this.seeking = this.tries = 0;
    this.tracks.clear();
    this.error = '';
    this.state = 'off';
  }

  toggle() {
    if (this.state === 'playing') {
      this.held = true;
      this.send({ t: 'pause' });
    } else if (this.state === 'paused') this.play(this.rate);
    else if (this.state === 'ended') {
      this.seek(this.since);
    }
  }

  /** Changes the rate, and stays paused where it is. */
  pace(rate: number) {
    this.rate = rate;
    if (this.state === 'playing' || this.state === 'ended') this.play(rate);
  }

  private play(rate: number) {
    this.held = false;
    this.send({ t: 'resume', rate });
  }

  /** Sets the clock. Of many in a row, the last counts. */
  seek(to: number) {
    if (!['playing', 'paused', 'ended'].includes(this.state)) return;
    this.at = Math.min(this.until, Math.max(this.since, to));
    clearTimeout(this.seeking);
    this.seeking = window.setTimeout(() => {
      this.seeking = 0;
      this.heard = { at: this.at, wall: performance.now() };
      this.send({ t: 'seek', to: iso(this.at) });
    }, 150);
  }

  private tick() {
    if (this.version !== this.tracks.version) this.version = this.tracks.version;
    if (this.state === 'playing' && !this.seeking) this.at = Math.min(this.until, this.heard.at + (performance.now() - this.heard.wall) * this.rate);
  }

  private send(v: unknown) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(v));
  }

  private connect() {
    const s = new WebSocket(`wss://${location.host}/api/v1/replay`);
    this.socket = s;
    s.binaryType = 'arraybuffer';
    s.onopen = () => {
      this.send({ t: 'replay', since: iso(this.since), until: iso(this.until), to: iso(this.at), rate: this.rate, box: this.box, paused: this.held, all: live.all });
    };
    s.onmessage = (e) => this.socket === s && this.take(e.data as ArrayBuffer | string);
    s.onclose = () => this.socket === s && void this.lost();
  }

  /** Comes back to where it was, but not again and again: the server says why, if it can. */
  private async lost() {
    const s = this.socket;
    this.state = 'opening';
    let why = '';
    try {
      await get('/api/v1/replay');
    } catch (e) {
      if (!(e instanceof Refused) || e.status !== 400) why = told(e); // 400: it wants a WebSocket
    }
    if (this.socket !== s) return;
    if (++this.tries > 3 || (why && !this.seen)) {
      this.tracks.clear();
      this.error = why;
      this.state = 'failed';
      return;
    }
    this.seeking = window.setTimeout(() => {
      this.seeking = 0;
      this.tracks.clear();
      this.connect();
    }, 500 * this.tries);
  }

  private take(data: ArrayBuffer | string) {
    if (typeof data !== 'string') {
      const seq = this.tracks.frame(data);
      if (seq !== undefined) this.send({ t: 'ack', seq });
      return;
    }
    const m = JSON.parse(data) as Told;
    if (m.t === 'meta') this.tracks.name(m.list ?? []);
    else if (m.t === 'replay') {
      this.tracks.clear();
      this.groups = m.groups ?? [];
      this.seen = true;
    } else if (m.at) {
      this.heard = { at: Date.parse(m.at), wall: performance.now() };
      this.tries = 0;
      this.state = m.t === 'end' ? 'ended' : m.t === 'paused' ? 'paused' : 'playing';
      if (!this.seeking) this.at = this.heard.at;
    }
  }
}

const iso = (ms: number) => new Date(ms).toISOString();

export const replay = new Replay();
