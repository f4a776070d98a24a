/** A moment (Unix ms) as the value of an input of type datetime-local. */
export function toLocal(ms: number): string {
  const d = new Date(ms);
  return new Date(ms - d.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** The moment that such an input says; NaN where it says none. */
export const fromLocal = (text: string) => new Date(text).getTime();

/** A moment in UTC: "2026-05-04 12:00:00Z". */
export const utc = (ms: number) => (Number.isFinite(ms) ? new Date(ms).toISOString().slice(0, 19).replace('T', ' ') + 'Z' : '');
