// Figures of the map page: a server, many moving tracks, a browser. `make bench-web` runs it; it takes about a minute.
import { execFile, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { connect } from 'node:tls';
import { promisify } from 'node:util';

process.env.TAKD ??= '{}';
const { browser } = await import('./kit.mjs');
const root = resolve(new URL('../../../', import.meta.url).pathname);
const takd = join(root, 'bin', 'takd');
const data = mkdtempSync(join(tmpdir(), 'takd-figures-'));
const seconds = 10;
const senders = 4;
const rows = [];
const row = (what, goal, got) => rows.push([what, goal, got]);
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
const run = (...args) => execFileSync(takd, [...args, '--data', data], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });

/** CPU that a process has used, in ms. */
function cpu(pid) {
  let ns = 0;
  for (const t of readdirSync(`/proc/${pid}/task`)) ns += Number(readFileSync(`/proc/${pid}/task/${t}/schedstat`, 'utf8').split(' ')[0]);
  return ns / 1e6;
}

/** Sends n uids over some connections, each once a second, until it is stopped. */
async function load(n, addr) {
  const [, port] = addr.split(':');
  const stop = [];
  for (let s = 0; s < senders; s++) {
    const name = `load-${s}`;
    const sock = connect({ port: Number(port), host: '127.0.0.1', rejectUnauthorized: false, cert: readFileSync(join(data, `${name}.pem`)), key: readFileSync(join(data, `${name}.key`)) });
    sock.on('error', () => undefined);
    sock.resume();
    await new Promise((r) => sock.once('secureConnect', r));
    let turn = 0;
    const each = n / senders;
    const timer = setInterval(() => { // a tenth of them each 100 ms
      const now = new Date();
      const [from, to] = [now.toISOString(), new Date(+now + 120_000).toISOString()];
      let text = '';
      for (let i = turn % 10; i < each; i += 10) {
        const id = s * each + i;
        const lat = (45 + (id % 100) / 20 + turn / 1e5).toFixed(6);
        const lon = (5 + Math.floor(id / 100) / 20 + turn / 1e5).toFixed(6);
        text += `<event version="2.0" uid="T-${id}" type="a-${'fhnu'[id % 4]}-G-U-C" how="m-g" time="${from}" start="${from}" stale="${to}"><point lat="${lat}" lon="${lon}" hae="100" ce="5" le="5"/><detail><contact callsign="T${id}"/><track speed="5" course="${id % 360}"/></detail></event>`;
      }
      turn++;
      if (sock.writableLength < 32 << 20) sock.write(text);
    }, 100);
    stop.push(() => (clearInterval(timer), sock.destroy()));
  }
  return () => stop.forEach((f) => f());
}

/** In the page: times what is done with each message, and counts bytes. */
function meter() {
  window.figures = { ms: 0, frames: 0, bytes: 0, rows: 0, worst: 0, text: 0, tasks: 0 };
  new PerformanceObserver((l) => l.getEntries().forEach((e) => (window.figures.tasks = Math.max(window.figures.tasks, e.duration)))).observe({ type: 'longtask' });
  const own = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'onmessage');
  Object.defineProperty(WebSocket.prototype, 'onmessage', {
    set(f) {
      own.set.call(this, (e) => {
        const at = performance.now();
        f(e);
        const took = performance.now() - at;
        const g = window.figures;
        g.bytes += e.data.byteLength ?? e.data.length;
        if (typeof e.data === 'string') {
          g.text++;
          return;
        }
        g.ms += took;
        g.worst = Math.max(g.worst, took);
        g.frames++;
        g.rows += new DataView(e.data).getUint32(16, true);
      });
    },
  });
}

/** In the page: a feed of its own with n tracks, all of which move each second. */
function pretend(n) {
  window.WebSocket = class extends EventTarget {
    static OPEN = 1;
    readyState = 1;
    constructor() {
      super();
      setTimeout(() => this.begin(), 0);
    }
    say(data, timed) {
      const at = performance.now();
      this.onmessage({ data });
      if (!timed) return;
      const took = performance.now() - at;
      window.figures.ms += took;
      window.figures.worst = Math.max(window.figures.worst, took);
      window.figures.frames++;
    }
    begin() {
      this.onopen();
      this.say(JSON.stringify({ t: 'welcome', key: 'k', epoch: 1, resumed: false, groups: ['Blue'] }));
      for (let i = 1; i <= n; i += 500)
        this.say(JSON.stringify({ t: 'meta', list: Array.from({ length: Math.min(500, n - i + 1) }, (_, j) => ({ tid: i + j, uid: `T-${i + j}`, callsign: `T${i + j}`, type: 'a-f-G', sym: 'sidc|SFGPUC---------', groups: ['Blue'] })) }));
      this.move(0);
      let turn = 0;
      setInterval(() => this.move(++turn), 1000);
    }
    move(turn) {
      const b = new ArrayBuffer(24 + 20 * n);
      const v = new DataView(b);
      v.setUint8(0, 1);
      v.setUint8(1, 2);
      v.setUint16(2, 1, true);
      v.setUint32(4, turn + 1, true);
      v.setUint32(16, n, true);
      const tid = new Uint32Array(b, 24, n);
      const lon = new Int32Array(b, 24 + 4 * n, n);
      const lat = new Int32Array(b, 24 + 8 * n, n);
      for (let i = 0; i < n; i++) {
        tid[i] = i + 1;
        lon[i] = (5 + Math.floor(i / 400) / 20) * 1e7 + turn * 1000;
        lat[i] = (40 + (i % 400) / 40) * 1e7;
      }
      this.say(b, turn > 0);
    }
    send() {}
    close() {}
  };
}

const { version } = JSON.parse(run('version', '--json'));
writeFileSync(join(data, '..', 'takd-figures-password'), 'a good password', { mode: 0o600 });
rmSync(data, { recursive: true });
run('init', '--host', 'localhost', '--admin', 'root', '--admin-password-file', join(data, '..', 'takd-figures-password'));
const server = spawn(takd, ['run', '--data', data, '--history', 'off', '--cot-addr', '127.0.0.1:0', '--https-addr', '127.0.0.1:0', '--enroll-addr', '127.0.0.1:0', '--federation-addr', '127.0.0.1:0', '--ops-addr', '127.0.0.1:0'], { stdio: 'ignore' });
try {
  let status;
  for (let i = 0; i < 100 && !status; i++) {
    await sleep(100);
    try {
      status = JSON.parse((await promisify(execFile)(takd, ['status', '--json', '--data', data])).stdout);
    } catch { /* not yet */ }
  }
  for (let s = 0; s < senders; s++) run('cert', 'issue', `load-${s}`, '--ecdsa', '--out', data);
  const site = 'https://localhost:' + status.listeners.enroll.split(':').pop();
  const stop = await load(10_000, status.listeners.tls);
  await sleep(4000);
  const before = cpu(server.pid);
  await sleep(seconds * 1000);
  const without = (cpu(server.pid) - before) / seconds;

  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 } });
  await context.addInitScript(meter);
  const page = await context.newPage();
  await page.goto(site);
  await page.fill('input[name=username]', 'root');
  await page.fill('input[name=password]', 'a good password');
  await page.click('button.primary');
  await page.waitForSelector('.pill.on');
  const cdp = await context.newCDPSession(page);
  await cdp.send('Network.setCacheDisabled', { cacheDisabled: true });
  const began = Date.now();
  await page.reload({ waitUntil: 'commit' });
  await page.waitForSelector('[data-map]', { state: 'attached' });
  const painted = Date.now() - began;
  const fcp = await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN);
  await page.waitForFunction(() => Number(document.querySelector('#count')?.textContent.replace(/\D/g, '')) >= 10_000, undefined, { timeout: 60_000 });
  await sleep(5000);
  await page.evaluate(() => Object.assign(window.figures, { ms: 0, frames: 0, bytes: 0, rows: 0, worst: 0, text: 0, tasks: 0 }));
  const cpuAt = cpu(server.pid);
  const at = Date.now();
  await sleep(seconds * 1000);
  const f = await page.evaluate(() => window.figures);
  const took = (Date.now() - at) / 1000;
  const withPage = (cpu(server.pid) - cpuAt) / took;
  stop();
  row('10,000 tracks: on the wire', '<= 200 KB/s', `${(f.bytes / 1000 / took).toFixed(0)} KB/s (${(f.rows / took).toFixed(0)} moves/s in ${(f.frames / took).toFixed(2)} frames/s)`);
  row('10,000 tracks: handler in the page', '<= 1 ms a frame', `${(f.ms / f.frames).toFixed(2)} ms, worst ${f.worst.toFixed(1)}`);
  const bench = execFileSync('go', ['test', './http/live', '-run', '^$', '-bench', 'BenchmarkFrame|BenchmarkLook$', '-benchtime', '200x'], { cwd: root, encoding: 'utf8' });
  const figure = (name, unit) => (Number(new RegExp(`${name}-?\\d*\\s.*?([\\d.]+) ${unit}`).exec(bench)[1]) / 1e6).toFixed(2);
  row('10,000 tracks: server CPU of one page (`BenchmarkFrame`)', '<= 1 ms a tick', `${figure('BenchmarkFrame', 'cpu-ns/op')} ms a tick`);
  row('- of that, looking and encoding (`BenchmarkLook`)', '', `${figure('BenchmarkLook', 'ns/op')} ms a tick`);
  row('- the whole server with one page, less that without', '', `${(withPage - without).toFixed(1)} ms/s (${withPage.toFixed(0)} - ${without.toFixed(0)})`);
  row('first paint, nothing cached', '< 3 s', `${(fcp / 1000).toFixed(2)} s; the map is there after ${(painted / 1000).toFixed(2)} s`);

  const size = (url) => {
    const name = new URL(url).pathname === '/' ? 'index.html' : new URL(url).pathname.replace('/ui/', '');
    try {
      return statSync(join(root, 'http/ui/dist/app', name + '.gz')).size / 1000;
    } catch {
      return 0; // of the API
    }
  };
  const loads = async (path) => {
    const urls = new Set();
    const note = (r) => urls.add(r.url());
    page.on('request', note);
    await page.goto(`${site}/#/${path}`);
    await page.reload({ waitUntil: 'networkidle' });
    page.off('request', note);
    return urls;
  };
  const total = (urls) => [...urls].reduce((sum, u) => sum + size(u), 0);
  const shared = await loads('about');
  const kb = [];
  for (const dir of readdirSync(join(root, 'http/ui/src/pages'))) {
    if (dir === 'map' || dir === 'about') continue;
    kb.push([dir, total([...(await loads(dir))].filter((u) => !shared.has(u)))]);
  }
  await context.close();

  const many = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 } });
  const big = await many.newPage();
  const urls = new Set();
  big.on('request', (r) => urls.add(r.url()));
  await big.goto(site);
  await big.addInitScript(() => (window.figures = { ms: 0, frames: 0, worst: 0 }));
  await big.addInitScript(pretend, 100_000);
  await big.fill('input[name=username]', 'root');
  await big.fill('input[name=password]', 'a good password');
  await big.click('button.primary');
  await big.waitForSelector('.pill.on');
  await big.reload();
  await big.waitForFunction(() => window.figures.frames >= 10, undefined, { timeout: 60_000 });
  const g = await big.evaluate(() => window.figures);
  const cdp2 = await many.newCDPSession(big);
  await cdp2.send('Performance.enable');
  const busy = async () => (await cdp2.send('Performance.getMetrics')).metrics.find((m) => m.name === 'TaskDuration').value * 1000;
  const busyAt = await busy();
  const lagAt = Date.now();
  let lag = 0;
  for (let i = 0; i < 50; i++) {
    const asked = Date.now();
    await big.evaluate(() => 1);
    lag = Math.max(lag, Date.now() - asked);
    await sleep(100);
  }
  const share = ((await busy()) - busyAt) / (Date.now() - lagAt);
  await many.close();
  row('100,000 tracks: handler in the page', '< 8 ms a frame', `${(g.ms / g.frames).toFixed(2)} ms, worst ${g.worst.toFixed(1)} (${g.frames} frames of 100,000 moves)`);
  row('100,000 tracks: the page\'s main thread', 'usable', `${(share * 100).toFixed(0)} % busy; the longest that it let a question wait: ${lag} ms of 50 in 5 s`);
  row('map page, gzip', '<= 950 KB', `${total(urls).toFixed(0)} KB`);
  row('shared part, gzip', '', `${total(shared).toFixed(0)} KB`);
  row('admin pages beyond it, gzip', '<= 120 KB each', kb.sort((a, b) => b[1] - a[1]).map(([n, k]) => `${n} ${k.toFixed(0)}`).join(', ') + ' KB');
} finally {
  server.kill();
  await browser.close();
  rmSync(data, { recursive: true, force: true });
  rmSync(join(data, '..', 'takd-figures-password'), { force: true });
}

const commit = execFileSync('git', ['-C', root, 'rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
const text = `## The map page

Machine: ${cpus()[0].model}, ${cpus().length} cores, Linux, load ${loadavg()[0].toFixed(1)} at the end (the browser, its software GL and the load run beside the server).
takd ${version}, commit ${commit}, ${new Date().toISOString().slice(0, 10)}, headless Chromium:

    make bench-web

| what | goal | measured |
| --- | --- | --- |
${rows.map((r) => `| ${r.join(' | ')} |`).join('\n')}

The 10,000 tracks come over ${senders} streams, each track once a second; the 100,000 are made in the page, and software GL takes seconds to draw them:\nhow smooth that is with a graphics card was not measured. The whole server with a page, less that without, is a small difference of two
larger figures and as often negative as not; what a page costs is measured alone, by the processor's time of the thread that looks, encodes and sends by TLS.
`;
console.log(text);
const file = process.argv[2];
if (file) {
  const [begin, end] = ['<!-- web begin -->', '<!-- web end -->'];
  const old = readFileSync(file, 'utf8');
  const part = `${begin}\n${text}${end}\n`;
  const i = old.indexOf(begin);
  writeFileSync(file, i < 0 ? old.trimEnd() + '\n\n' + part : old.slice(0, i) + part + old.slice(old.indexOf(end) + end.length + 1));
}
