// A real browser sends files: with progress, many at once, and what is refused says why.
import { readFile } from 'node:fs/promises';
import { end, look, open, site, step, until } from './kit.mjs';

const page = await open(site.enroll, { expect: ['status of 400', 'status of 401', 'status of 403', 'status of 413', 'status of 507'], axe: true });
const zip = await readFile(site.zip);
const file = (name, buffer = zip) => ({ name, mimeType: 'application/zip', buffer });
const send = (...files) => page.setInputFiles('.drop input', files);
const upload = (name) => page.locator('li[data-state]', { hasText: name });
const there = (name) => page.locator('td', { hasText: name }).waitFor();
const set = (values) => page.evaluate(async (body) => {
  const r = await fetch('/api/admin/config', { method: 'PUT', headers: { 'Content-Type': 'application/json', 'X-Requested-With': 'takd' }, body });
  if (!r.ok) throw new Error(await r.text());
}, JSON.stringify(values));

await step('nothing yet', async () => {
  await page.fill('input[name=username]', 'root');
  await page.fill('input[name=password]', site.password);
  await page.click('button.primary');
  await page.click('nav a[href="#/packages"]');
  await page.locator('td', { hasText: 'There is no data package yet' }).waitFor();
  await look(page, 'packages-none');
});
await step('several at once', async () => {
  await send(file('one.zip'), file('two.zip', Buffer.from('PK\x03\x04cut off')), file('three.zip', await readFile(site.other)));
  await there('three.zip');
  await there('one.zip');
  await upload('two.zip').locator('.error', { hasText: 'cut off' }).waitFor();
  await upload('one.zip').and(page.locator('[data-state=sent]')).waitFor();
});
await step('dropped on the page', async () => {
  const data = await page.evaluateHandle((b64) => {
    const d = new DataTransfer();
    d.items.add(new File([Uint8Array.from(atob(b64), (c) => c.charCodeAt(0))], 'dropped.zip', { type: 'application/zip' }));
    return d;
  }, (await readFile(site.third)).toString('base64'));
  await page.dispatchEvent('.drop', 'dragenter', { dataTransfer: data });
  await page.locator('.drop.over').waitFor();
  await page.dispatchEvent('.drop', 'drop', { dataTransfer: data });
  await there('dropped.zip');
});
await step('how far it is, and given up', async () => {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('Network.enable');
  const slow = (bytes) => cdp.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: bytes });
  await slow(400_000);
  await send(file('large.zip', Buffer.alloc(20 << 20, 'x')), file('after.zip', Buffer.alloc(1000, 'y')));
  const large = upload('large.zip');
  await until('some of it', async () => {
    const text = await large.innerText();
    const percent = Number(/(\d+) %/.exec(text)?.[1]);
    return percent > 0 && percent < 100 && text.includes('of 21 MB');
  });
  await look(page, 'upload');
  await page.getByRole('button', { name: 'Cancel after.zip' }).click();
  await page.getByRole('button', { name: 'Cancel large.zip' }).focus();
  await page.keyboard.press('Enter');
  await page.locator('li[data-state=cancelled]', { hasText: 'large.zip' }).waitFor();
  await page.locator('li[data-state=cancelled]', { hasText: 'after.zip' }).waitFor();
  await slow(-1);
  await page.reload();
  await there('one.zip');
  if (await page.locator('td', { hasText: /large|after/ }).count()) throw new Error('what was given up is there');
});
await step('too large', async () => {
  await set({ 'files.max_upload': '1MiB' });
  await send(file('huge.zip', Buffer.alloc(30 << 20, 'x')));
  await upload('huge.zip').locator('.error', { hasText: 'Too large for this server: file: ' }).waitFor();
  await upload('huge.zip').locator('.error', { hasText: 'files.max_upload is 1MiB' }).waitFor();
});
await step('no room', async () => {
  await set({ 'files.max_upload': '1GiB', 'files.min_free': '900000GiB' });
  await send(file('more.zip', Buffer.alloc(30 << 20, 'x')));
  await upload('more.zip').locator('.error', { hasText: 'The server has no room for it: file: ' }).waitFor();
  await upload('more.zip').locator('.error', { hasText: 'files.min_free is' }).waitFor();
  await look(page, 'upload-refused');
});
await step('not allowed', async () => {
  const ann = await open(site.enroll, { expect: ['status of 401', 'status of 403'], path: '/#/packages' });
  await ann.fill('input[name=username]', 'ann');
  await ann.fill('input[name=password]', site.password);
  await ann.click('button.primary');
  await ann.locator('.drop').waitFor();
  await page.evaluate(async () => {
    await fetch('/api/admin/users/ann', { method: 'PUT', headers: { 'Content-Type': 'application/json', 'X-Requested-With': 'takd' }, body: '{"role":"readonly"}' });
  });
  await ann.setInputFiles('.drop input', [file('mine.zip')]);
  await ann.locator('li[data-state=failed] .error', { hasText: 'You may not send this: ' }).waitFor();
  await ann.reload();
  await ann.locator('p', { hasText: 'You may look at data packages' }).waitFor();
  if (await ann.$('.drop, button.danger')) throw new Error('who may look alone is offered to send');
  await ann.context().close();
});
await end();
