// A real browser looks at what was: replays on the map.
import { end, look, open, shot, site, step, until } from './kit.mjs';

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
await step('space pauses, arrows seek', async () => {
  await ann.locator('.rows .row', { hasText: 'PAST-1' }).click();
  await ann.selectOption('.details select', 'DD');
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
await step('without a history', async () => {
  const page = await open(site.off, { expect: ['status of 401', 'status of 503', 'Unexpected response code: 503'] });
  await login(page, 'ann');
  await begin(page);
  await page.locator('.bar .error', { hasText: 'this server keeps no history' }).waitFor();
  await shot(page, 'replay-off');
  await page.click('button[name=live]');
  await page.waitForSelector('.past', { state: 'detached' });
  await page.context().close();
});
await end();
