import { get } from '../../lib/api';
import { everybody, type Message } from '../../lib/chat.svelte';

interface Row {
  server_time: string;
  uid: string;
  type: string;
  user: string;
  room: string;
  text: string;
  event: string;
}

/** What was said in the last day, of what the user may see. */
export async function said(user: string, self: string): Promise<Message[]> {
  const lines = await get<string>('/api/history/chat?secago=86400&limit=5000');
  const list: Message[] = [];
  for (const line of lines.split('\n')) {
    if (!line) continue;
    const m = message(JSON.parse(line) as Row, user, self);
    if (m) list.push(m);
  }
  return list;
}

function message(r: Row, user: string, self: string): Message | undefined {
  if (r.type !== 'b-t-f') return undefined;
  const doc = new DOMParser().parseFromString(r.event, 'text/xml');
  const head = doc.querySelector('__chat');
  const of = (e: Element | null, name: string) => e?.getAttribute(name) ?? '';
  const members = doc.querySelector('chatgrp');
  const uid = of(doc.querySelector('detail > link'), 'uid') || of(members, 'uid0');
  const mine = r.user === user;
  const id = of(head, 'id') || r.room || everybody;
  let [room, name] = [id, r.room || id];
  // A message to one: its room is the other one.
  if (!mine && (id === self || (id !== everybody && of(members, 'uid1') === id && !members?.hasAttribute('uid2')))) [room, name] = [uid, of(head, 'senderCallsign') || uid];
  return { id: of(head, 'messageId') || r.uid, room, name, uid, callsign: of(head, 'senderCallsign'), text: r.text, at: Date.parse(r.server_time), mine, state: '' };
}
