import { call } from './api';
import { live } from './live.svelte';

/** The room of everybody. */
export const everybody = 'All Chat Rooms';

export interface Message {
  id: string;
  room: string; // everybody, the id of a group of people, or the uid of the other one
  name: string;
  uid: string;
  callsign: string;
  text: string;
  at: number; // Unix ms
  mine: boolean;
  state: string; // of one's own: "", "delivered", "read", "failed"
}

interface Said extends Partial<Message> {
  t: string;
}

const most = 2000; // messages that are kept

/** What is said to the user, and by him, while the page is open. */
class Chat {
  uid = $state(''); // of the user, while he is a contact
  callsign = $state('');
  messages = $state.raw<Message[]>([]);
  unread = $state.raw<Record<string, number>>({}); // by room
  shown = ''; // the room that is looked at
  onjoin: (() => void) | undefined; // what was may have been missed
  private wanted = false;

  constructor() {
    live.hears = (m) => this.hear(m as Said);
    live.onopen = () => this.wanted && live.send({ t: 'chat' });
  }

  /** Makes the user a contact, as long as the page is open. */
  join() {
    if (this.wanted) return;
    this.wanted = true;
    live.send({ t: 'chat' });
  }

  stop() {
    this.wanted = false;
    this.uid = '';
    this.messages = [];
    this.unread = {};
  }

  say(to: { room: string; name?: string; to?: string[]; groups?: string[] }, text: string) {
    return call<{ id: string }>('POST', '/api/v1/chat', { ...to, text });
  }

  look(room: string) {
    this.shown = room;
    if (this.unread[room]) this.unread = { ...this.unread, [room]: 0 };
  }

  /** Takes in messages, each once, in order of time. */
  add(list: Message[]) {
    const known = new Set(this.messages.map((m) => m.id));
    const fresh = list.filter((m) => m.id && !known.has(m.id));
    if (fresh.length) this.messages = [...this.messages, ...fresh].sort((a, b) => a.at - b.at).slice(-most);
  }

  private hear(m: Said) {
    if (m.t === 'chat') {
      this.uid = m.uid ?? '';
      this.callsign = m.callsign ?? '';
      if (this.uid) this.onjoin?.();
      else if (this.wanted) setTimeout(() => this.wanted && live.send({ t: 'chat' }), 2000);
      return;
    }
    if (m.state) {
      const worse = ['', 'delivered', 'read', 'failed'];
      this.messages = this.messages.map((o) => (o.id === m.id && o.mine && worse.indexOf(m.state!) > worse.indexOf(o.state) ? { ...o, state: m.state! } : o));
      return;
    }
    const room = m.room || everybody;
    this.add([{ id: m.id!, room, name: m.name || room, uid: m.uid ?? '', callsign: m.callsign ?? '', text: m.text ?? '', at: m.at ?? Date.now(), mine: !!m.mine, state: '' }]);
    if (!m.mine && room !== this.shown) this.unread = { ...this.unread, [room]: (this.unread[room] ?? 0) + 1 };
  }
}

export const chat = new Chat();
