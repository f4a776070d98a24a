// What the browser tests share: Chromium, and pages that fail on what must not happen.
import { accessSync, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';

export const site = JSON.parse(process.env.TAKD);
const shots = new URL('../shots/', import.meta.url).pathname;
mkdirSync(shots, { recursive: true });

// Debian's wrapper prints things; the program behind it does not.
const candidates = ['/usr/lib/chromium/chromium', ...process.env.PATH.split(delimiter).flatMap((d) => ['chromium', 'chromium-browser', 'google-chrome'].map((n) => join(d, n)))];
const found = candidates.find((p) => {
  try {
    accessSync(p, 1);
    return true;
  } catch {
    return false;
  }
});
if (!found) throw new Error('there is no Chromium; apt-get install chromium');

export const browser = await chromium.launch({
  executablePath: found,
  args: ['--no-sandbox', '--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--disable-dev-shm-usage'],
});

const bad = [];
export const faults = []; // that do not end the test at once; told together at its end
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** A page of base; what it logs as an error, and what it asks of others, is noted. */
export async function open(base, options = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  const expected = options.expect ?? [];
  page.on('console', (m) => {
    if (['error', 'warning'].includes(m.type()) && !expected.some((e) => m.text().includes(e)) && !/GPU stall|GL Driver Message|WebGL.*software|swiftshader/i.test(m.text())) bad.push(`${m.type()}: ${m.text()}`);
  });
  page.on('pageerror', (e) => bad.push(`page: ${e.stack ?? e}`));
  page.on('request', (r) => {
    const url = new URL(r.url());
    if (!['blob:', 'data:'].includes(url.protocol) && url.origin !== base) bad.push(`asks ${r.url()}`);
  });
  await page.addInitScript(() => addEventListener('securitypolicyviolation', (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`)));
  if (options.axe) await page.addInitScript({ content: axe }); // which the policy allows, unlike a script of the page
  await page.goto(base + (options.path ?? '/'));
  return page;
}

export const shot = (page, name) => page.screenshot({ path: join(shots, name + '.png') });

/** A picture of a page, which has to be without serious fault for people who hear it or use keys. */
export async function look(page, name) {
  await shot(page, name);
  const found = await page.evaluate(async () => {
    const r = await window.axe.run(document, { resultTypes: ['violations'], runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa'] });
    return r.violations.filter((v) => ['serious', 'critical'].includes(v.impact)).flatMap((v) => v.nodes.slice(0, 5).map((n) => `${v.id}: ${n.html.slice(0, 200)} ${n.failureSummary.split('\n')[1] ?? ''}`));
  });
  faults.push(...found.map((f) => `${name}: ${f}`));
}

/** How many pixels of a page have the colour of the tests' icon. */
export async function magenta(page) {
  const picture = (await page.screenshot()).toString('base64');
  return page.evaluate(async (b64) => {
    const img = new Image();
    img.src = 'data:image/png;base64,' + b64;
    await img.decode();
    const c = document.createElement('canvas');
    [c.width, c.height] = [img.width, img.height];
    const g = c.getContext('2d', { willReadFrequently: true });
    g.drawImage(img, 0, 0);
    const { data } = g.getImageData(0, 0, img.width, img.height);
    let n = 0;
    for (let i = 0; i < data.length; i += 4) if (data[i] > 250 && data[i + 1] < 5 && data[i + 2] > 250) n++;
    return n;
  }, picture);
}

let steps = 0;
const began = Date.now();

/** One step: what fails ends the test with its name. */
export async function step(name, f) {
  try {
    await f();
  } catch (e) {
    e.message = `${name}: ${e.message}`;
    throw e;
  }
  if (bad.length) throw new Error(`${name}: the page says\n${bad.join('\n')}`);
  steps++;
  if (process.env.VERBOSE) console.log(`${((Date.now() - began) / 1000).toFixed(1)} s  ${name}`);
}

/** Waits until f is true. */
export async function until(what, f) {
  for (let i = 0; i < 1200; i++) {
    if (await f()) return;
    await new Promise((r) => setTimeout(r, 50));
  }
  throw new Error(`not within 60 s: ${what}`);
}

export async function end() {
  await browser.close();
  if (faults.length) throw new Error(`it has faults:\n${faults.join('\n')}`);
  console.log(`${steps} steps`);
}
