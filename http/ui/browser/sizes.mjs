// A real browser looks at each page on a desktop and on a phone, in each theme, and walks it with the keyboard.
import { end, faults, look, open, site, step } from './kit.mjs';

const sizes = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };
const paths = ['map', 'chat', 'clients', 'packages', 'reach', 'users', 'enroll', 'certificates', 'history', 'metrics', 'retention', 'backup', 'config', 'logs', 'audit', 'about'];

/** In the page: whether a place is out of sight because something around e scrolls, the window and the main part aside. */
function clipping() {
  window.clipped = (e, x, y) => {
    for (let p = e.parentElement; p && !p.matches('main, .shell'); p = p.parentElement) {
      const r = p.getBoundingClientRect();
      if (getComputedStyle(p).overflow !== 'visible' && (x < r.left || x > r.right || y < r.top || y > r.bottom)) return true;
    }
    return false;
  };
}

/** What is cut off: the page is wider than the window, or something one can use is outside of what can be seen or scrolled to. */
const cut = (page) => page.evaluate(() => {
  const said = [];
  const wide = document.documentElement;
  if (wide.scrollWidth > wide.clientWidth + 1) said.push(`the page is ${wide.scrollWidth} wide in ${wide.clientWidth}`);
  const main = document.querySelector('main');
  if (main && main.scrollWidth > main.clientWidth + 1) said.push(`the main part is ${main.scrollWidth} wide in ${main.clientWidth}`);
  for (const e of document.querySelectorAll('button, input, select, textarea, a')) {
    const r = e.getBoundingClientRect();
    if (!r.width || !r.height || e.closest('.scroll, .rows, pre, .hidden, nav, details:not([open])') || getComputedStyle(e).visibility === 'hidden') continue;
    if (window.clipped(e, r.left + r.width / 2, r.top + r.height / 2)) continue;
    if (r.left < -1 || r.right > innerWidth + 1) said.push(`${e.outerHTML.slice(0, 80)} is at ${Math.round(r.left)} to ${Math.round(r.right)}`);
    if (e.closest('.map, main.full') && (r.top < 0 || r.bottom > innerHeight + 1)) said.push(`${e.outerHTML.slice(0, 80)} is at ${Math.round(r.top)} to ${Math.round(r.bottom)}`);
  }
  return said;
});

/** Two things that one can use, of which one lies over the other. */
const covered = (page) => page.evaluate(() => {
  const said = [];
  const all = document.querySelector('dialog[open]') ? 'dialog[open] :is(button, input, select, a)' : 'main button, main input:not([type=file]), main select, header.bar button, header.bar select, nav a';
  for (const e of document.querySelectorAll(all)) {
    const r = e.getBoundingClientRect();
    if (!r.width || !r.height || e.closest('.scroll, .rows, .hidden, details:not([open])')) continue;
    const [x, y] = [r.left + r.width / 2, r.top + r.height / 2];
    if (x < 0 || y < 0 || x > innerWidth || y > innerHeight || window.clipped(e, x, y)) continue;
    const top = document.elementFromPoint(x, y);
    if (top && top !== e && !e.contains(top) && !top.contains(e) && !e.closest('label')?.contains(top)) said.push(`${e.outerHTML.slice(0, 80)} lies under ${top.outerHTML.slice(0, 80)}`);
  }
  return said;
});

/** Walks with Tab: everything one can use gets the focus, shows that it has it, and is in sight then. */
async function walk(page) {
  await page.evaluate(() => {
    document.activeElement?.blur();
    getSelection()?.removeAllRanges();
    window.wanted = new Set([...document.querySelectorAll('main :is(a[href], button, input, select, textarea, summary)')].filter((e) =>
      !e.matches(':disabled') && e.checkVisibility({ visibilityProperty: true }) && !e.matches('input[type=radio]:not(:checked)') && !e.closest('tbody tr:nth-child(n+3)')));
  });
  await page.locator('.skip').focus();
  await page.keyboard.press('Enter');
  const said = [];
  for (let i = 0; i < 400; i++) {
    await page.keyboard.press('Tab');
    const [left, fault] = await page.evaluate(() => {
      const e = document.activeElement;
      if (!e || e === document.body) return [-1, ''];
      window.wanted.delete(e);
      const r = e.getBoundingClientRect();
      const style = getComputedStyle(e);
      const seen = r.bottom > 0 && r.right > 0 && r.top < innerHeight && r.left < innerWidth;
      const marked = style.outlineStyle !== 'none' || e.matches('input, select, textarea, canvas, [role=region]');
      return [window.wanted.size, seen && marked ? '' : `${seen ? 'no mark of the focus' : 'out of sight'}: ${e.outerHTML.slice(0, 100)}`];
    });
    if (fault) said.push(fault);
    if (left <= 0) break;
  }
  const left = await page.evaluate(() => [...window.wanted].map((e) => `Tab does not reach ${e.outerHTML.slice(0, 100)}`));
  return [...said, ...left].slice(0, 5);
}

for (const [size, viewport] of Object.entries(sizes)) {
  const page = await open(site.enroll, { expect: ['status of 401'], axe: true, viewport });
  await page.addInitScript(clipping);
  await page.evaluate(clipping);
  await step(`login, ${size}`, async () => {
    await look(page, `${size}-login`);
    await page.fill('input[name=username]', 'root');
    await page.fill('input[name=password]', site.password);
    await page.keyboard.press('Enter');
    await page.waitForSelector('.pill.on');
    await page.locator('.rows .row').first().waitFor({ state: 'attached' });
  });
  for (const path of paths) {
    await step(`${path}, ${size}`, async () => {
      await page.goto(`${site.enroll}/#/${path}`);
      await page.waitForSelector(`nav a[href="#/${path}"][aria-current]`);
      await page.waitForTimeout(path === 'metrics' ? 2500 : 900);
      const said = [...(await cut(page)), ...(await covered(page)), ...(size === 'desktop' ? await walk(page) : [])];
      for (const theme of ['light', 'night', 'dark']) {
        await page.selectOption('header.bar select', theme);
        await page.waitForTimeout(150);
        await look(page, `${size}-${path}-${theme}`);
      }
      if (said.length) faults.push(`${path}, ${size}:\n${said.join('\n')}`);
    });
  }
  const whole = async (name) => {
    await page.waitForTimeout(400);
    const said = [...(await cut(page)), ...(await covered(page))];
    await look(page, `${size}-${name}`);
    if (said.length) faults.push(`${name}, ${size}:\n${said.join('\n')}`);
  };
  await step(`dialogs, ${size}`, async () => {
    await page.goto(`${site.enroll}/#/users`);
    await page.locator('.tools button.primary').click();
    await page.locator('dialog input[name=newname]').waitFor();
    await whole('user-dialog');
    await page.keyboard.press('Escape');
    await page.goto(`${site.enroll}/#/enroll`);
    await page.fill('input[name=invited]', 'dave');
    await page.click('.tools button.primary');
    await page.waitForSelector('[data-state=waiting]');
    await whole('invitation-dialog');
    await page.keyboard.press('Escape');
  });
  await step(`the map at work, ${size}`, async () => {
    await page.goto(`${site.enroll}/#/map`);
    await page.locator('.rows .row').first().waitFor({ state: 'attached' });
    if (size === 'phone') await page.click('button[name=list]');
    await page.click('.layers summary');
    await whole('map-list');
    await page.click('.layers summary');
    await page.locator('.rows .row').first().click();
    await page.waitForSelector('.details');
    if (size === 'phone') await page.click('button[name=list]');
    await page.click('button[name=measure]');
    await whole('map-details');
    await page.click('.details header button');
    await page.click('button[name=replay]');
    await page.selectOption('select[name=span]', '');
    await whole('map-replay-form');
    await page.selectOption('select[name=span]', '1');
    await page.click('form.bar button.primary');
    await page.waitForSelector('section.bar .play:not([disabled])');
    await whole('map-replay');
    await page.click('button[name=live]');
  });
  await page.context().close();
}
await end();
