/** Where the server will listen: a port, host:port or off. */
export interface Addresses {
  cot: string;
  https: string;
  enroll: string;
  federation: string;
  ops: string;
}

/** What was entered so far. */
export interface Draft {
  hosts: string[];
  admin: string;
  password: string;
  org: string;
  addresses: Addresses;
  ca_cert: string; // PEM of an authority instead of a new one, and
  ca_key: string; // PEM of its key; "" for none
}

/** What the page begins with. */
export interface Start extends Draft {
  data: string;
  given: (keyof Addresses)[];
  min_password: number;
  expires: string;
}

/** What was made; files are base64. */
export interface Made {
  host: string;
  admin: string;
  files: string;
  p12: string;
  p12_password: string;
  ca: string;
  package: string;
  api_port: number;
  enroll_port: number;
}

/** A word as a shell reads it. */
export const quoted = (s: string) => (/^[\w@%+=:,./-]+$/.test(s) ? s : `'${s.replaceAll("'", `'\\''`)}'`);

const spelled = (a: string) => (/^\d+$/.test(a.trim()) ? `:${a.trim()}` : a.trim());

/** The command that does what the steps up to this one have said. */
export function command(s: Start, d: Draft, step: number, ca?: { cert: string; key: string }): string {
  const parts = ['takd', 'init', '--data', quoted(s.data), '--host', quoted(d.hosts.join(','))];
  if (step >= 1) parts.push('--admin', quoted(d.admin), '--admin-password-file', '-');
  if (step >= 2) parts.push('--org', quoted(d.org));
  if (step >= 2 && ca) parts.push('--ca-cert', quoted(ca.cert || 'FILE'), '--ca-key', quoted(ca.key || 'FILE'));
  if (step >= 3)
    for (const name of ['cot', 'https', 'enroll', 'federation', 'ops'] as const)
      if (!s.given.includes(name) && spelled(d.addresses[name]) !== s.addresses[name]) parts.push(`--${name}-addr`, quoted(spelled(d.addresses[name])));
  return parts.join(' ') + (step >= 4 ? `\ntakd run --data ${quoted(s.data)}` : '');
}
