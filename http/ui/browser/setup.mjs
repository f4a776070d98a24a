// A real browser sets a server up, from the printed link to the first device.
import { readFile } from 'node:fs/promises';
import { end, look, open, shot, site, step, until } from './kit.mjs';

const quiet = { expect: ['net::ERR_', 'status of 4'], axe: true };
const base = new URL(site.link).origin;

await step('without the link there is nothing to see', async () => {
  const page = await open(base, { ...quiet, path: '/setup' });
  await page.waitForSelector('.error');
  await look(page, 'setup-closed');
  await page.goto(base + '/setup#token=AAAAAAAAAAAAAAAAAAAAAAAAAA');
  await page.reload();
  await page.locator('.error', { hasText: 'not the link' }).waitFor();
  if (await page.$('input')) throw new Error('a form without the link');
  await page.context().close();
});

const page = await open(base, { ...quiet, path: site.link.slice(base.length) });
const next = () => page.click('.setup button.primary');
const wrong = (field) => page.locator(`[data-field="${field}"]`).waitFor();
const terminal = (text) => until(text, async () => (await page.innerText('.setup pre')).includes(text));

await step('name', async () => {
  await page.fill('input[name=host]', 'two_words.');
  await next();
  await wrong('hosts');
  await page.fill('input[name=host]', 'localhost');
  await page.fill('input[name=more]', 'tak.example.org, 192.0.2.7');
  await terminal('--host localhost,tak.example.org,192.0.2.7');
  await look(page, 'setup-host');
  await next();
});
await step('administrator', async () => {
  await page.fill('input[name=admin]', 'chief');
  await page.fill('input[name=password]', 'short');
  await page.fill('input[name=again]', 'short');
  await next();
  await wrong('password');
  await page.fill('input[name=password]', site.password);
  await next();
  await page.locator('[data-field=password]', { hasText: 'not the same' }).waitFor();
  await page.fill('input[name=again]', site.password);
  await terminal('--admin chief --admin-password-file -');
  await look(page, 'setup-admin');
  await next();
});
await step('certificates', async () => {
  await page.check('input[name=ca] >> nth=1');
  await next();
  await wrong('ca_cert');
  await wrong('ca_key');
  const bring = (cert, key) => Promise.all([page.setInputFiles('input[name=ca_cert]', cert), page.setInputFiles('input[name=ca_key]', key)]);
  const says = (field, text) => page.locator(`[data-field=${field}]`, { hasText: text }).waitFor();
  await bring(site.leaf, site.caKey);
  await next();
  await says('ca_cert', 'is not a CA');
  await bring(site.expired, site.caKey);
  await next();
  await says('ca_cert', 'has expired');
  await bring(site.ca, site.leafKey);
  await next();
  await says('ca_key', 'does not belong to the certificate');
  await look(page, 'setup-own-wrong');
  await bring(site.ca, site.caKey);
  await page.fill('input[name=org]', "Rescue 7's");
  await terminal('--ca-cert ca.pem --ca-key ca.key');
  await look(page, 'setup-own');
  await terminal(`--org 'Rescue 7'\\''s'`);
  await look(page, 'setup-ca');
  await next();
});
await step('ports', async () => {
  if (!(await page.isDisabled('input[name=cot]'))) throw new Error('the command line gives this one');
  await page.fill('input[name=https]', site.taken);
  await page.fill('input[name=federation]', 'off');
  await page.fill('input[name=ops]', 'off');
  await next();
  await wrong('addresses.https');
  await look(page, 'setup-ports');
  await page.fill('input[name=https]', site.free);
  await terminal(`--https-addr ${site.free}`);
  await next();
});
const saved = async (id) => {
  const [file] = await Promise.all([page.waitForEvent('download'), page.click(`button[name=${id}]`)]);
  return readFile(await file.path());
};
await step('the server is made', async () => {
  await page.locator('dd', { hasText: 'chief' }).waitFor();
  await look(page, 'setup-finish');
  await next();
  await page.waitForSelector('button[name=p12]', { timeout: 60_000 });
  if ((await saved('p12'))[0] !== 0x30) throw new Error('no PKCS#12');
  if (!(await saved('ca')).toString().includes((await readFile(site.ca)).toString().trim())) throw new Error('not the CA that was brought');
  if ((await saved('package')).toString('latin1', 0, 2) !== 'PK') throw new Error('no zip');
  const api = await page.getAttribute('#api', 'href');
  if (api !== `https://localhost:${site.free.split(':')[1]}/`) throw new Error(api);
});
await step('the first device', async () => {
  await page.fill('input[name=device]', 'scout');
  await page.click('form button.primary');
  await until('codes', () => page.evaluate(() => [...document.querySelectorAll('figure img')].filter((i) => i.naturalWidth > 20).length === 3));
  await look(page, 'setup-device');
  await page.waitForSelector('[data-state=connected]');
  await shot(page, 'setup-connected');
});
await step('closed for good', async () => {
  await page.goto('about:blank');
  await page.goto(site.link);
  await page.waitForURL(base + '/*');
  await page.waitForSelector('.pill.on'); // logged in by what the page did
  if (new URL(page.url()).pathname !== '/') throw new Error(page.url());
  const token = site.link.split('token=')[1];
  const answers = await page.evaluate(async (token) => {
    const all = [];
    for (const [method, path] of [['GET', '/api/setup'], ['POST', '/api/setup/finish'], ['GET', '/api/v1/invites']])
      all.push((await fetch(path, { method, headers: { Authorization: `Bearer ${token}` }, credentials: 'omit' })).status);
    return all.join();
  }, token);
  if (answers !== '404,404,401') throw new Error(answers);
});
await end();
