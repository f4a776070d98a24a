// A real browser: base maps and what is shown on the map.
import { end, look, magenta, open, shot, site, step, until } from './kit.mjs';

const login = async (page, user) => {
  await page.fill('input[name=username]', user);
  await page.fill('input[name=password]', site.password);
  await page.click('button.primary');
  await page.waitForSelector('.pill.on');
};
const list = (page) => page.innerText('.rows');
const shows = (page, name, is = true) => until(`${name}: ${is}`, async () => (await list(page)).includes(name) === is);

/** How many of some places of the map have the colour of a tile of the test's base map. */
const tiled = async (page) => {
  const picture = (await page.screenshot()).toString('base64');
  return page.evaluate(async (b64) => {
    const img = new Image();
    img.src = 'data:image/png;base64,' + b64;
    await img.decode();
    const c = document.createElement('canvas');
    [c.width, c.height] = [img.width, img.height];
    const g = c.getContext('2d', { willReadFrequently: true });
    g.drawImage(img, 0, 0);
    let n = 0;
    for (let x = 520; x < 900; x += 20)
      for (let y = 300; y < 600; y += 20) {
        const [r, gr, b] = g.getImageData(x, y, 1, 1).data;
        if (r >= 40 && (r - 40) % 40 === 0 && (gr - 20) % 30 === 0 && (b - 20) % 30 === 0) n++;
      }
    return n;
  }, picture);
};

const root = await open(site.enroll, { expect: ['status of 401', 'status of 400'], axe: true });
await step('no base map yet', async () => {
  await login(root, 'root');
  await root.waitForSelector('[data-map=webgl]', { state: 'attached' });
  await shows(root, 'CS-alice');
  await root.keyboard.press('l');
  await root.waitForSelector('.layers input[value=world]:checked');
  if (await tiled(root)) throw new Error('colours of a base map that is not there');
});
await step('what is no base map is refused', async () => {
  await root.setInputFiles('input[name=tiles]', { name: 'bad.pmtiles', mimeType: 'application/octet-stream', buffer: Buffer.from('no map at all') });
  await root.locator('.layers .error', { hasText: 'PMTiles' }).waitFor();
});
await step('an administrator adds one, and it is shown', async () => {
  await root.setInputFiles('input[name=tiles]', site.tiles);
  await root.waitForSelector('.layers input[value="world-test.pmtiles"]:checked');
  await until('tiles', async () => (await tiled(root)) > 150);
  await look(root, 'base-raster');
});
await step('a vector map', async () => {
  await root.setInputFiles('input[name=tiles]', site.vector);
  await root.waitForSelector('.layers input[value="vector-test.pmtiles"]:checked');
  await until('no raster', async () => (await tiled(root)) === 0);
  await root.waitForTimeout(500);
  await look(root, 'base-vector');
});
await step('tracks on and off', async () => {
  await root.uncheck('.layers input[name="a|f"]');
  await shows(root, 'CS-alice', false);
  await shows(root, 'HOSTILE');
  await root.check('.layers input[name="a|f"]');
  await shows(root, 'CS-alice');
  await root.uncheck('.layers input[name="t|Cyan"]');
  await shows(root, 'CS-alice', false);
});
await step('it is kept', async () => {
  await root.uncheck('.layers input[name=labels]');
  await root.reload();
  await root.waitForSelector('.pill.on');
  await shows(root, 'HOSTILE');
  await shows(root, 'CS-alice', false);
  await root.keyboard.press('l');
  await root.check('.layers input[name="t|Cyan"]');
  await until('no labels', async () => (await root.getAttribute('.paper', 'data-labels')) === '0');
  await root.check('.layers input[name=labels]');
});
await step('icons of a set; where one cannot be used, the symbol', async () => {
  await root.click('.layers summary'); // closed
  await root.locator('.rows .row', { hasText: 'Icon huge' }).waitFor();
  await root.locator('.rows .row', { hasText: 'Icon magenta' }).click();
  await until('the image', async () => (await magenta(root)) > 500);
  await shot(root, 'icons');
  await root.click('.details header button');
  await root.click('.layers summary');
});
const shapes = async (page) => Number(await page.getAttribute('.paper', 'data-shapes'));
await step('drawings and routes', async () => {
  await root.click('.layers summary'); // closed
  await root.click('.search button');
  await until('all three', async () => (await shapes(root)) === 3);
  await root.locator('.rows .row', { hasText: 'MSR' }).click();
  await root.locator('.details', { hasText: 'SP' }).waitFor();
  await root.locator('.details', { hasText: '53.4 km' }).waitFor();
  await root.waitForTimeout(600);
  await look(root, 'drawings');
});
await step('a position is copied', async () => {
  await root.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await root.selectOption('select[name=format]', 'DD');
  await root.click('button[name=copy]');
  await until('it says so', async () => (await root.innerText('.measure [role=status]')).includes('48.300000, 11.700000'));
});
await step('measuring, and where the pointer is', async () => {
  await root.click('.details header button');
  await root.keyboard.press('d');
  await root.mouse.click(700, 300);
  await root.mouse.click(900, 300);
  const value = async (name) => root.innerText(`output[name=${name}]`);
  await until('a length', async () => / km$/.test(await value('length')));
  if (!/^(089|090|091)°$/.test(await value('bearing'))) throw new Error(await value('bearing'));
  const km = parseFloat(await value('length'));
  await root.selectOption('select[name=unit]', 'NM');
  const miles = parseFloat(await value('length'));
  if (Math.abs(km / miles - 1.852) > 0.02) throw new Error(`${km} km, ${miles} NM`);
  for (const [format, want] of Object.entries({ MGRS: /^3\d[U] [A-Z]{2} \d{5} \d{5}$/, DMS: /N \d+°\d\d′/, DD: /^4\d\.\d{6}, 1\d\.\d{6}$/ })) {
    await root.selectOption('select[name=cursor]', format);
    await root.mouse.move(800, 320);
    await until(format, async () => want.test(await root.innerText('[data-cursor]')));
  }
  await look(root, 'measure');
  await root.click('h1, header.bar'); // away from what takes keys itself
  await root.keyboard.press('Escape');
  await root.waitForSelector('output', { state: 'detached' });
  await root.click('.layers summary');
});
await step('drawings off', async () => {
  await root.uncheck('.layers input[name=shapes]');
  await until('none', async () => (await shapes(root)) === 0);
  await shows(root, 'MSR', false);
  await root.check('.layers input[name=shapes]');
});
await step('no base map at all', async () => {
  await root.check('.layers input[value=plain]');
  await root.uncheck('.layers input[name=grid]');
  await root.waitForTimeout(300);
  await look(root, 'base-none');
});

const ann = await open(site.enroll, { expect: ['status of 401'], path: '/#/map?canvas' });
await step('another user has it, and may not change it', async () => {
  await login(ann, 'ann');
  await ann.goto(site.enroll + '/?canvas#/map');
  await ann.waitForSelector('[data-map=canvas]', { state: 'attached' });
  await ann.click('.layers summary');
  await ann.check('.layers input[value="world-test.pmtiles"]');
  if (await ann.$('input[name=tiles], .layers button.danger')) throw new Error('a user may change base maps');
  await until('tiles on the simple map', async () => (await tiled(ann)) > 150);
  await until('icons on the simple map', async () => (await magenta(ann)) > 500);
  await until('drawings on the simple map', async () => (await shapes(ann)) === 3);
  await shot(ann, 'base-canvas');
  await ann.check('.layers input[value="vector-test.pmtiles"]');
  await ann.locator('.layers .note').waitFor();
  await ann.context().close();
});
await step('it is deleted', async () => {
  root.on('dialog', (d) => d.accept());
  await root.click('button[aria-label="Remove world-test.pmtiles"]');
  await root.waitForSelector('.layers input[value="world-test.pmtiles"]', { state: 'detached' });
  await root.context().close();
});
await end();
