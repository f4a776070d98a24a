import en from './en.json';

/** Catalogues by language. Another one is another file with the same keys. */
const catalogues: Record<string, Partial<Record<Key, string>>> = { en };
export type Key = keyof typeof en;

const language = navigator.languages.map((l) => l.split('-')[0]).find((l) => l in catalogues) ?? 'en';

/** The text for a key, with {name} replaced. */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  const text = catalogues[language][key] ?? en[key];
  return text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));
}

const time = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

/** A moment for people; "" where there is none. */
export const when = (v?: string | number | null) => (v ? time.format(new Date(v)) : '');

/** How long ago, short: "12 s", "3 min". */
export function ago(v?: string | number | null, now = Date.now()): string {
  if (!v) return '';
  const s = Math.max(0, Math.round((now - new Date(v).getTime()) / 1000));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} d`;
}

/** Bytes for people: "1.5 MB". */
export function bytes(n: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) {
    n /= 1000;
    i++;
  }
  return `${n < 10 && i ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}
