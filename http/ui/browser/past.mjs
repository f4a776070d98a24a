// A real browser looks at what was: replays on the map.
import { readFile } from 'node:fs/promises';
import { end, look, magenta, open, shot, site, step, until } from './kit.mjs';

const now = Date.parse(site.now);
const minute = 60_000;
const login = async (page, user) => {
  await page.fill('input[name=username]', user);
  await page.fill('input[name=password]', site.password);
  await page.click('button.primary');
  await page.waitForSelector('.pill.on');
};
const list = (page) => page.innerText('.rows');
const shows = (page, name, is = true) => until(`${name}: ${is}`, async () => (await list(page)).includes(name) === is);
const clock = async (page) => Number(await page.getAttribute('.clock', 'data-at'));
const seek = (page, to) => page.fill('input[type=range]', String(Math.round((to - Number(page.since)) / 1000) * 1000 + Number(page.since)));
const begin = async (page) => {
  await page.click('button[name=replay]');
  await page.click('form.bar button.primary');
  await page.waitForSelector('.past');
  page.since = await page.getAttribute('input[type=range]', 'min');
};

const ann = await open(site.enroll, { expect: ['status of 401'], axe: true });
await step('the live map has nothing of what was', async () => {
  await login(ann, 'ann');
  await shows(ann, 'CS-alice');
  if ((await list(ann)).includes('PAST')) throw new Error(await list(ann));
});
await step('a replay of the last hour', async () => {
  await ann.click('button[name=replay]');
  await ann.selectOption('select[name=span]', '');
  await look(ann, 'replay-form');
  await ann.fill('input[name=to]', '2020-01-01T00:00');
  await ann.click('form.bar button.primary');
  await ann.waitForSelector('form.bar .error');
  await ann.selectOption('select[name=span]', '1');
  await ann.click('form.bar button.primary');
  await ann.waitForSelector('.past');
  ann.since = await ann.getAttribute('input[type=range]', 'min');
  await shows(ann, 'CS-alice', false);
});
await step('the slider seeks', async () => {
  await until('it plays', async () => (await ann.innerText('section.bar .note')) === 'Plays');
  await seek(ann, now - 38 * minute);
  await shows(ann, 'PAST-2');
  await seek(ann, now - 25 * minute);
  await shows(ann, 'PAST-2', false);
  await shows(ann, 'PAST-1');
  if (/SECRET|CS-alice/.test(await list(ann))) throw new Error(await list(ann));
});
await step('drawings, routes and icons come and go at their times', async () => {
  const shapes = async () => Number(await ann.getAttribute('.paper', 'data-shapes'));
  await shows(ann, 'ZONE');
  await shows(ann, 'MSR', false);
  await ann.click('.search button');
  await until('one', async () => (await shapes()) === 1);
  await until('the icon', async () => (await magenta(ann)) > 500);
  await look(ann, 'replay-drawings');
  await seek(ann, now - 18 * minute);
  await shows(ann, 'MSR');
  await until('two', async () => (await shapes()) === 2);
  await seek(ann, now - 14 * minute);
  await shows(ann, 'ZONE', false);
  await seek(ann, now - 8 * minute);
  await shows(ann, 'MSR', false);
  await until('none', async () => (await shapes()) === 0);
  await seek(ann, now - 25 * minute);
  await shows(ann, 'ZONE');
});
await step('space pauses, arrows seek', async () => {
  await ann.locator('.rows .row', { hasText: 'PAST-1' }).click();
  await ann.selectOption('select[name=format]', 'DD');
  await ann.click('h2'); // away from what takes keys itself
  await ann.keyboard.press(' ');
  await until('paused', async () => (await ann.innerText('section.bar .note')) === 'Paused');
  const at = await clock(ann);
  await ann.waitForTimeout(500);
  if ((await clock(ann)) !== at) throw new Error('the clock of a replay that is paused runs');
  await ann.keyboard.press('ArrowRight');
  await until('36 s farther', async () => (await clock(ann)) === at + 36_000);
  await ann.keyboard.press('Shift+ArrowLeft');
  await until('six minutes back', async () => (await clock(ann)) === at + 36_000 - 6 * minute);
  const lat = 48 + Math.floor((at + 36_000 - 6 * minute - (now - 40 * minute)) / 30_000) / 100;
  await until(`it is at ${lat}`, async () => (await ann.innerText('.details')).includes(lat.toFixed(2) + '0000'));
  await look(ann, 'replay');
});
await step('it plays faster, to its end', async () => {
  await ann.selectOption('select[name=rate]', '600');
  await ann.click('h2');
  await ann.keyboard.press(' ');
  await until('it moves', async () => (await clock(ann)) > now - 20 * minute);
  await until('the end', async () => (await ann.innerText('section.bar .note')) === 'The end');
});
for (const theme of ['light', 'night']) {
  await step(`in ${theme}`, async () => {
    await ann.selectOption('header.bar select', theme);
    await ann.waitForTimeout(300);
    await look(ann, 'replay-' + theme);
  });
}
await step('a trail from the history', async () => {
  await ann.selectOption('header.bar select', 'dark');
  await ann.selectOption('select[name=rate]', '1');
  await until('the end again', async () => (await ann.innerText('section.bar .note')) === 'The end');
  await seek(ann, now - 12 * minute);
  await shows(ann, 'PAST-1');
  const points = async () => Number(await ann.getAttribute('select[name=trail]', 'data-points'));
  await ann.selectOption('select[name=trail]', '15');
  await until('a quarter of an hour', async () => (await points()) > 20 && (await points()) <= 30);
  await ann.selectOption('select[name=trail]', '60');
  await until('all of it', async () => (await points()) > 50);
  await ann.click('.search button');
  await ann.waitForTimeout(800);
  await look(ann, 'trail');
});
await step('back to what is', async () => {
  await ann.click('button[name=live]');
  await shows(ann, 'CS-alice');
  await shows(ann, 'PAST', false);
  await ann.waitForSelector('.past', { state: 'detached' });
});
await step('without WebGL', async () => {
  await ann.goto(site.enroll + '/#/map?canvas');
  await ann.reload();
  await ann.waitForSelector('[data-map=canvas]', { state: 'attached' });
  await begin(ann);
  await until('it plays', async () => (await ann.innerText('section.bar .note')) === 'Plays');
  await seek(ann, now - 25 * minute);
  await shows(ann, 'PAST-1');
  await ann.click('.search button');
  await ann.waitForTimeout(400);
  await shot(ann, 'replay-canvas');
  await ann.context().close();
});
const root = await open(site.enroll, { expect: ['status of 401', 'status of 400'], axe: true });
const cells = (text) => root.locator('#main tbody tr', { hasText: text });
const download = async (name) => {
  const [file] = await Promise.all([root.waitForEvent('download'), root.getByRole('link', { name, exact: true }).click()]);
  return (await readFile(await file.path())).toString('latin1');
};
await step('the history is asked', async () => {
  await login(root, 'root');
  await root.click('nav a[href="#/history"]');
  await cells('PAST-1').first().waitFor();
  await root.fill('input[name=type]', 'a-f');
  await root.fill('input[name=group]', 'Blue');
  await root.click('form button.primary');
  await until('Blue alone', async () => (await cells('SECRET').count()) === 0 && (await cells('PAST-1').count()) > 0);
  await root.fill('input[name=group]', '');
  await root.click('form button.primary');
  await until('a full page', async () => (await root.locator('#main tbody tr').count()) === 100);
  await look(root, 'history');
  await root.click('button[name=older]');
  await until('what is left', async () => (await root.locator('#main tbody tr').count()) < 50);
  if (await root.isEnabled('button[name=older]')) throw new Error('there is a page after the last');
  await root.click('button[name=newer]');
  await until('the first page', async () => (await root.locator('#main tbody tr').count()) === 100);
});
await step('what is found is taken away', async () => {
  await root.fill('input[name=uid]', 'UID-PAST-2');
  await root.click('form button.primary');
  await until('ten rows', async () => (await root.locator('#main tbody tr').count()) === 10);
  await root.locator('figure[data-rows="10"] .u-over').waitFor();
  await look(root, 'history-chart');
  if (await root.$('#main tbody img')) throw new Error('remarks have become a picture');
  const of = { CSV: /^server_time,/, PARQUET: /^PAR1/, NDJSON: /^\{"server_time"/, GPX: /<trkpt lat="48.0/, KML: /<gx:Track>/ };
  for (const [name, want] of Object.entries(of)) {
    const text = await download(name);
    if (!want.test(text) || (name !== 'PARQUET' && !text.includes('UID-PAST-2')) || text.includes('SECRET')) throw new Error(`${name}: ${text.slice(0, 300)}`);
  }
});
await step('and shown on the map, as it was', async () => {
  await cells('PAST-2').first().getByRole('link').click();
  await root.waitForSelector('.past');
  await root.waitForSelector('[data-map]', { state: 'attached' });
  await until('its details', async () => (await root.$('.details')) && (await root.innerText('.details')).includes('UID-PAST-2'));
  await until('paused', async () => (await root.innerText('section.bar .note')) === 'Paused');
  await root.waitForTimeout(800);
  await shot(root, 'history-map');
  await root.context().close();
});
await step('without a history', async () => {
  const page = await open(site.off, { expect: ['status of 401', 'status of 503', 'Unexpected response code: 503'] });
  await login(page, 'ann');
  await page.click('button[name=replay]');
  await page.click('form.bar button.primary');
  await page.locator('.bar .error', { hasText: 'this server keeps no history' }).waitFor();
  await shot(page, 'replay-off');
  await page.click('button[name=live]');
  await page.waitForSelector('.past', { state: 'detached' });
  await page.locator('.rows .row').click();
  await page.selectOption('select[name=trail]', '60');
  await page.locator('.details .error', { hasText: 'keeps no history' }).waitFor();
  await page.context().close();
});
await end();
