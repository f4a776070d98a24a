/** An answer of the server that is not a success. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

let bearer = '';
/** Calls are made with this token from now on; "" for none: then the cookie of a session will do. */
export const authorize = (token: string) => (bearer = token);

/** Asks the server. Objects are sent, and answers read, as JSON. */
export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const r = await fetch(path, {
    method,
    credentials: 'same-origin',
    headers: { 'X-Requested-With': 'takd', ...(bearer ? { Authorization: `Bearer ${bearer}` } : {}), ...(body === undefined ? {} : { 'Content-Type': 'application/json' }) },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await r.text();
  let value: unknown = text;
  if (r.headers.get('Content-Type')?.startsWith('application/json') && text) value = JSON.parse(text);
  if (!r.ok) {
    if (r.status === 401) dispatchEvent(new Event('unauthorized'));
    throw new Refused(r.status, (value as { message?: string })?.message ?? `${r.status}`);
  }
  return value as T;
}

export const get = <T>(path: string) => call<T>('GET', path);

/** Who is logged in. */
export interface Session {
  authenticated: boolean;
  user: string;
  role: string;
  in: string[];
  out: string[];
  via: string;
  expires?: string;
}
