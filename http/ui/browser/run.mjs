// A real browser uses takd's page as an operator does.
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { end, look, open, shot, site, step, until } from './kit.mjs';

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

// Three are at one place: of their labels, which would overlap, one is there.
const labelled = async (page) => {
  await page.click('.search button'); // everything is in view
  await until('labels do not overlap', async () => {
    const tracks = await page.locator('.rows .row').count();
    const labels = Number(await page.getAttribute('.paper', 'data-labels'));
    return tracks > 3 && labels >= 1 && labels < tracks;
  });
};

const root = await open(site.enroll, { expect: ['status of 401', 'status of 400'], axe: true });
await step('a wrong password is refused', async () => {
  await look(root, 'login');
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
  await look(root, 'map');
});
await step('every group, for administrators', async () => {
  if ((await root.innerText('.rows')).includes('CS-eve')) throw new Error('he sees Red without asking');
  await root.check('input[name=all]');
  await row(root, 'CS-eve').waitFor();
  await labelled(root);
  await look(root, 'map-all');
  await root.uncheck('input[name=all]');
  await row(root, 'CS-eve').waitFor({ state: 'detached' });
});
await step('hostile text is text', async () => {
  await until('row', async () => (await root.innerText('.rows')).includes('<img src=x'));
  if (await root.$('.rows img')) throw new Error('a callsign has become a picture');
});

const bob = await open(site.api, { clientCertificates: [{ origin: site.api, certPath: site.cert, keyPath: site.key }], expect: ['status of 401'] });
await step('certificate on 8443', async () => {
  await bob.waitForSelector('.pill.on');
  await row(bob, 'CS-alice').waitFor();
  if (await bob.$('input[name=all]')) throw new Error('a user may ask for every group');
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
const sockets = [];
await step('without WebGL', async () => {
  await bob.routeWebSocket('**/api/v1/live', (ws) => {
    ws.connectToServer();
    sockets.push(ws);
  });
  await bob.goto(site.api + '/#/map?canvas');
  await bob.reload();
  await bob.waitForSelector('[data-map=canvas]', { state: 'attached' });
  await row(bob, 'CS-alice').click();
  await bob.locator('.note', { hasText: '?canvas' }).waitFor();
  await labelled(bob);
  await bob.waitForTimeout(600);
  await shot(bob, 'canvas');
});
await step('a lost connection comes back', async () => {
  await sockets.at(-1).close({ code: 1001 });
  await bob.waitForSelector('.pill.lost');
  await bob.waitForSelector('.pill.on');
  await bob.context().close();
});
await step('an emergency is on top, and ends', async () => {
  await root.waitForSelector('.alarms');
  await look(root, 'emergency');
  await root.click('.alarms button:last-of-type');
  await root.waitForSelector('.alarms', { state: 'detached' });
});
await step('themes', async () => {
  for (const theme of ['light', 'night', 'dark']) {
    await root.selectOption('.bar select', theme);
    await root.waitForTimeout(300);
    if (theme !== 'dark') await look(root, 'map-' + theme);
  }
});
await step('clients', async () => {
  await goto(root, 'clients');
  await root.locator('td', { hasText: 'CS-alice' }).waitFor();
  await look(root, 'clients');
  root.once('dialog', (d) => d.accept());
  await root.locator('tr', { hasText: 'CS-gus' }).getByRole('button').click();
  await root.locator('td', { hasText: 'CS-gus' }).waitFor({ state: 'detached' });
});
await step('users', async () => {
  await goto(root, 'users');
  await root.locator('.tools button.primary').click();
  await root.fill('input[name=newname]', 'carol');
  await root.fill('input[name=both]', 'Blue, Green');
  await root.fill('input[name=newpassword]', 'carols password');
  await look(root, 'user');
  await root.click('dialog button.primary');
  const carol = root.locator('tr', { hasText: 'carol' });
  await carol.locator('.tag', { hasText: 'Green' }).first().waitFor();
  await carol.getByRole('button', { name: 'Disable' }).click();
  await carol.locator('.tag.bad').waitFor();
  await look(root, 'users');
});
await step('users from a file, and many at once', async () => {
  await root.getByRole('button', { name: 'Import CSV' }).click();
  const file = (text) => root.setInputFiles('input[name=csv]', { name: 'people.csv', mimeType: 'text/csv', buffer: Buffer.from(text) });
  await file('name,role,groups\nsquad1,user,Squad\nsquad2,king,Squad\n../x,user,\n');
  await until('what is wrong', async () => (await root.locator('.wrong tbody tr').count()) === 2);
  if (!(await root.isDisabled('button[name=import]'))) throw new Error('a bad file can be sent');
  await look(root, 'import');
  await file('name,role,groups\nsquad1,user,Squad\nsquad2,user,Squad\nsquad3,user,\n');
  await root.locator('dialog .tag', { hasText: 'Squad' }).waitFor();
  await root.click('button[name=import]');
  await root.locator('dialog .said').waitFor();
  await root.keyboard.press('Escape');
  await root.fill('input[type=search]', 'squad');
  await until('the three', async () => (await root.locator('.scroll:not(.narrow) tbody tr').count()) === 3);
  await root.getByLabel('Choose all that are shown').check();
  const tags = (name) => root.locator('tr', { hasText: name }).locator('.tag').allInnerTexts();
  await root.fill('input[name=bulkgroup]', 'Reserve');
  await root.getByRole('button', { name: 'Add to it' }).click();
  await until('all in the group', async () => (await tags('squad3')).join() === 'Reserve,Reserve' && (await tags('squad1')).includes('Reserve'));
  await look(root, 'bulk');
  await root.locator('fieldset').getByRole('button', { name: 'Disable' }).click();
  await until('all disabled', async () => (await root.locator('.tag.bad').count()) === 3);
  const [csv] = await Promise.all([root.waitForEvent('download'), root.getByRole('link', { name: 'Export' }).click()]);
  if (!(await readFile(await csv.path(), 'utf8')).includes('squad1,user,Reserve;Squad,Reserve;Squad')) throw new Error('not in the export');
  root.once('dialog', (d) => d.accept());
  await root.locator('fieldset').getByRole('button', { name: 'Remove' }).click();
  await until('all gone', async () => (await root.locator('.scroll:not(.narrow) tbody tr', { hasText: /squad\d/ }).count()) === 0);
});
await step('an invitation', async () => {
  await goto(root, 'enroll');
  await root.fill('input[name=invited]', 'dave');
  await root.fill('input[name=groups]', 'Blue');
  await root.click('.tools button.primary');
  await until('codes', () => root.evaluate(() => [...document.querySelectorAll('dialog img')].filter((i) => i.naturalWidth > 20).length === 3));
  await root.waitForSelector('[data-state=waiting]');
  await look(root, 'invitation');
  await writeFile(join(site.dir, 'token.part'), await root.innerText('dialog p code'));
  await rename(join(site.dir, 'token.part'), join(site.dir, 'token')); // for the test, which plays the device
  await root.waitForSelector('[data-state=enrolled]');
  await writeFile(join(site.dir, 'connect'), '');
  await root.waitForSelector('[data-state=connected]');
  await root.keyboard.press('Escape');
  await root.locator('td', { hasText: 'dave' }).waitFor();
  await look(root, 'enroll');
});
await step('certificates', async () => {
  await goto(root, 'certificates');
  await root.locator('.soon', { hasText: 'soonover' }).waitFor();
  await root.selectOption('select[name=state]', 'active');
  await root.fill('input[type=search]', 'mallory');
  const hers = root.locator('tbody tr', { hasText: 'mallory' });
  await until('hers alone', async () => (await root.locator('tbody tr').count()) === 1);
  await look(root, 'certificates');
  const [file] = await Promise.all([root.waitForEvent('download'), hers.getByRole('link').click()]);
  if (!(await readFile(await file.path())).toString().startsWith('-----BEGIN CERTIFICATE')) throw new Error('no certificate');
  root.once('dialog', (d) => d.accept());
  await hers.getByRole('button').click();
  await root.selectOption('select[name=state]', 'revoked');
  await hers.locator('.tag.bad').waitFor();
  await root.selectOption('select[name=state]', 'active');
  await until('none active', async () => (await hers.count()) === 0);
});
await step('metrics', async () => {
  await goto(root, 'metrics');
  await root.waitForSelector('.u-over');
  await root.waitForTimeout(4500);
  await look(root, 'metrics');
});
await step('audit and about', async () => {
  await goto(root, 'audit');
  await root.locator('td', { hasText: 'carol' }).first().waitFor();
  await root.locator('td', { hasText: 'map all groups' }).first().waitFor();
  await look(root, 'audit');
  await goto(root, 'about');
  await root.locator('dd', { hasText: 'running' }).first().waitFor();
  await look(root, 'about');
});
await step('retention', async () => {
  await goto(root, 'retention');
  const gone = root.locator('tr.gone');
  await root.locator('.parts .tag').nth(4).waitFor();
  if ((await gone.count()) !== 0) throw new Error('something goes without a policy');
  await root.fill('input[name=days-cot]', '14');
  await until('two go, before saving', async () => (await gone.count()) === 2);
  await root.fill('input[name=schedule]', '0 0 3 * * *');
  await look(root, 'retention');
  await root.click('#main button.primary');
  await until('saved', async () => (await root.innerText('.said')).includes('Saved'));
  await root.click('button[name=dry]');
  await until('dry run', async () => (await root.innerText('.said')).includes('Would remove 2 partitions'));
  root.once('dialog', (d) => d.accept());
  await root.click('button[name=run]');
  await until('run', async () => (await root.innerText('.said')).includes('Removed 2 partitions'));
  await until('partitions', async () => (await gone.count()) === 0);
  await root.locator('td', { hasText: '2 partitions, 2 rows' }).waitFor();
  await shot(root, 'retention-run');
});
const download = async (page, where) => {
  const [file] = await Promise.all([page.waitForEvent('download'), where.getByRole('link', { name: 'Download' }).click()]);
  return readFile(await file.path());
};
await step('data packages', async () => {
  await goto(root, 'packages');
  await root.setInputFiles('input[type=file]', { name: 'cut.zip', mimeType: 'application/zip', buffer: Buffer.from('PK\x03\x04cut off') });
  await root.locator('.error', { hasText: 'cut off' }).waitFor();
  const zip = await readFile(site.zip);
  await root.setInputFiles('input[type=file]', { name: 'plans <b>.zip', mimeType: 'application/zip', buffer: zip });
  const plans = root.locator('tr', { hasText: 'plans <b>' });
  await plans.waitFor();
  await look(root, 'packages');
  if (!(await download(root, plans)).equals(zip)) throw new Error('other bytes came back');
  root.once('dialog', (d) => d.accept());
  await plans.getByRole('button').click();
  await plans.waitFor({ state: 'detached' });
});
await step('a backup', async () => {
  await goto(root, 'backup');
  await root.click('#main button.primary');
  const made = root.locator('tr', { hasText: 'encrypted' });
  await made.waitFor();
  await look(root, 'backup');
  if ((await download(root, made)).length < 1000) throw new Error('an empty backup');
});
await step('configuration and logs', async () => {
  await goto(root, 'config');
  const clients = root.getByLabel('messaging.max_clients', { exact: true });
  const before = await clients.inputValue();
  await clients.fill('many');
  await root.click('#main button.primary');
  await root.waitForSelector('.error');
  await clients.fill('1234');
  if (!(await root.innerText('.changes')).includes('1234')) throw new Error('what changes is not told');
  await root.click('button[name=diff]');
  await root.locator('.diff .fresh', { hasText: 'max_clients: 1234' }).waitFor();
  if ((await root.locator('.diff .fresh, .diff .gone').count()) !== 1) throw new Error('more than the change');
  await look(root, 'diff');
  await root.keyboard.press('Escape');
  await root.click('#main button.primary');
  await root.locator('.said', { hasText: 'Saved' }).waitFor();
  if (!(await root.getByLabel('history.engine_path').isDisabled())) throw new Error('a library can be named');
  await look(root, 'config');
  await root.locator('.versions button[name=compare]').first().click();
  await root.locator('.diff .gone', { hasText: 'max_clients: 1234' }).waitFor();
  root.once('dialog', (d) => d.accept());
  await root.click('dialog button.primary');
  await until('the old value', async () => (await clients.inputValue()) === before);
  await goto(root, 'logs');
  await root.locator('li', { hasText: 'client bound' }).first().waitFor();
  await root.selectOption('select[name=level]', 'WARN');
  await until('warnings alone', async () => !(await root.innerText('#main ol')).includes('level=INFO'));
  await look(root, 'logs');
});
await step('who sees whom', async () => {
  await goto(root, 'reach');
  await root.fill('input[name=looks]', 'CS-alice');
  await root.fill('input[name=seen]', 'red');
  await root.click('#main button.primary');
  await root.waitForSelector('h2.no');
  await look(root, 'reach');
});
await step('logging out', async () => {
  await root.click('.bar button');
  await root.waitForSelector('input[name=password]');
});
await end();
