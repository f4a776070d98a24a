import { Refused, refusal, told } from './api';
import { t } from './i18n';

/** One file that is sent, was, or will be. */
export class Upload {
  state = $state<'waiting' | 'sending' | 'sent' | 'failed' | 'cancelled'>('waiting');
  sent = $state(0); // bytes
  error = $state('');
  stop = new AbortController();

  constructor(readonly file: File) {}

  get over() {
    return this.state !== 'waiting' && this.state !== 'sending';
  }
}

/** Files on their way to the server, one after another. */
export class Uploads {
  list = $state<Upload[]>([]);
  private busy = false;

  /** to says where a file goes; done is called when one is there. */
  constructor(
    private readonly to: (f: File) => { method: string; url: string; body: XMLHttpRequestBodyInit; type?: string },
    private readonly done: (f: File) => unknown,
  ) {}

  add(files: Iterable<File> | null | undefined) {
    this.list = [...this.list.filter((u) => !u.over), ...[...(files ?? [])].map((f) => new Upload(f))];
    void this.next();
  }

  cancel(u: Upload) {
    if (!u.over) u.state = 'cancelled';
    u.stop.abort();
  }

  private async next() {
    if (this.busy) return;
    this.busy = true;
    for (let u = this.list.find((x) => x.state === 'waiting'); u; u = this.list.find((x) => x.state === 'waiting')) {
      await this.one(u);
      if (u.state === 'sent') await this.done(u.file);
    }
    this.busy = false;
  }

  private async one(u: Upload) {
    u.state = 'sending';
    const at = this.to(u.file);
    try {
      await send(at.method, at.url, at.body, at.type, u.stop.signal, (n) => (u.sent = Math.min(n, u.file.size)));
      u.sent = u.file.size;
      u.state = 'sent';
    } catch (e) {
      if (u.stop.signal.aborted) return;
      u.state = 'failed';
      u.error = why(e);
    }
  }
}

/** What a refused upload says to people, with what the server said. */
function why(e: unknown): string {
  if (!(e instanceof Refused)) return told(e);
  if (e.status === 403) return t('upload.forbidden', { said: e.message });
  if (e.status === 413) return t('upload.large', { said: e.message });
  if (e.status === 507) return t('upload.full', { said: e.message });
  return e.message;
}

/** Sends a body, and tells how many bytes of it are under way: fetch does not. */
function send(method: string, url: string, body: XMLHttpRequestBodyInit, type: string | undefined, stop: AbortSignal, progress: (sent: number) => void): Promise<void> {
  return new Promise((done, fail) => {
    const x = new XMLHttpRequest();
    x.open(method, url);
    x.setRequestHeader('X-Requested-With', 'takd');
    if (type) x.setRequestHeader('Content-Type', type);
    x.upload.onprogress = (e) => progress(e.loaded);
    x.onload = () => (x.status < 300 ? done() : fail(refusal(x.status, x.responseText)));
    x.onerror = () => fail(new Error(t('upload.broken')));
    x.onabort = () => fail(new Error(t('upload.cancelled')));
    stop.addEventListener('abort', () => x.abort());
    x.send(body);
  });
}
