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

/** Asks the server. Objects are sent, and answers read, as JSON; a text is sent as it is. */
export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const r = await fetch(path, {
    method,
    credentials: 'same-origin',
    headers: { 'X-Requested-With': 'takd', ...(bearer ? { Authorization: `Bearer ${bearer}` } : {}), ...(body === undefined ? {} : { 'Content-Type': typeof body === 'string' ? 'text/plain' : 'application/json' }) },
    body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
  });
  const text = await r.text();
  if (!r.ok) throw refusal(r.status, text);
  return (r.headers.get('Content-Type')?.startsWith('application/json') && text ? JSON.parse(text) : text) as T;
}

/** The error that an answer is. */
export function refusal(status: number, text: string): Refused {
  if (status === 401) dispatchEvent(new Event('unauthorized'));
  let said: unknown;
  try {
    said = (JSON.parse(text) as { message?: unknown })?.message;
  } catch { /* not JSON */ }
  return new Refused(status, typeof said === 'string' && said ? said : `${status}`);
}

/** What an error says to people. */
export const told = (e: unknown) => (e instanceof Error ? e.message : String(e));

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
