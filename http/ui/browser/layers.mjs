// A real browser: base maps and what is shown on the map.
import { end, look, open, shot, site, step, until } from './kit.mjs';

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
