// A real browser uses takd's page as an operator does.
import { end, open, shot, site, step, until } from './kit.mjs';

const login = async (page, user, password) => {
  await page.fill('input[name=username]', user);
  await page.fill('input[name=password]', password);
  await page.click('button.primary');
};
const goto = async (page, path) => {
  await page.click(`nav a[href="#/${path}"]`);
  await page.waitForSelector(`nav a[href="#/${path}"][aria-current]`);
};
const row = (page, name) => page.locator('.rows .row').filter({ has: page.getByText(name, { exact: true }) });

const root = await open(site.enroll, { expect: ['status of 401'] });
await step('a wrong password is refused', async () => {
  await shot(root, 'login');
  await login(root, 'root', 'wrong');
  await root.waitForSelector('.error');
});
await step('password on 8446', async () => {
  await login(root, 'root', site.password);
  await root.waitForSelector('.pill.on');
  const cookies = await root.context().cookies();
  const c = cookies.find((x) => x.name === 'access_token');
  if (!c?.httpOnly || !c.secure || c.sameSite !== 'Strict') throw new Error(JSON.stringify(c));
});
await step('the map draws with WebGL', async () => {
  await root.waitForSelector('[data-map]', { state: 'attached' });
  const kind = await root.getAttribute('.map', 'data-map');
  if (kind !== 'webgl') throw new Error(kind);
});
await step('a track that a stream client sends is there', async () => {
  await row(root, 'CS-alice').click();
  await root.waitForSelector('.details');
  await until('details', async () => (await root.innerText('.details')).includes('UID-alice'));
  await root.waitForTimeout(1200);
  await shot(root, 'map');
});
await step('hostile text is text', async () => {
  await until('row', async () => (await root.innerText('.rows')).includes('<img src=x'));
  if (await root.$('.rows img')) throw new Error('a callsign has become a picture');
});

const bob = await open(site.api, { clientCertificates: [{ origin: site.api, certPath: site.cert, keyPath: site.key }], expect: ['status of 401'] });
await step('certificate on 8443', async () => {
  await bob.waitForSelector('.pill.on');
  await row(bob, 'CS-alice').waitFor();
  if ((await bob.$('nav a[href="#/audit"]')) !== null) throw new Error('a user sees pages of administrators');
});
await step('another group sees nothing of it', async () => {
  const red = await open(site.enroll, { expect: ['status of 401'] });
  await login(red, 'red', site.password);
  await red.waitForSelector('.pill.on');
  await row(red, 'CS-eve').waitFor();
  if ((await red.innerText('.rows')).includes('CS-alice')) throw new Error('red sees Blue');
  await red.context().close();
});
await step('without WebGL', async () => {
  await bob.goto(site.api + '/#/map?canvas');
  await bob.reload();
  await bob.waitForSelector('[data-map=canvas]', { state: 'attached' });
  await row(bob, 'CS-alice').click();
  await bob.waitForTimeout(600);
  await shot(bob, 'canvas');
});
await step('an emergency is on top, and ends', async () => {
  await root.waitForSelector('.alarms');
  await shot(root, 'emergency');
  await root.click('.alarms button:last-of-type');
  await root.waitForSelector('.alarms', { state: 'detached' });
});
await step('a lost connection comes back', async () => {
  await root.context().setOffline(true);
  await root.evaluate(() => undefined);
  await root.context().setOffline(false);
  await root.waitForSelector('.pill.on');
});
await step('themes', async () => {
  for (const theme of ['light', 'night', 'dark']) {
    await root.selectOption('.bar select', theme);
    await root.waitForTimeout(300);
    if (theme !== 'dark') await shot(root, 'map-' + theme);
  }
});
await step('pages', async () => {
  for (const path of ['reach', 'audit', 'about']) {
    await goto(root, path);
    await root.waitForTimeout(300);
    await shot(root, path);
  }
});
await step('who sees whom', async () => {
  await goto(root, 'reach');
  await root.fill('input[name=looks]', 'CS-alice');
  await root.fill('input[name=seen]', 'CS-eve');
  await root.click('#main button.primary');
  await root.waitForSelector('h2.no');
  await shot(root, 'reach');
});
await step('logging out', async () => {
  await root.click('.bar button');
  await root.waitForSelector('input[name=password]');
});
await end();
