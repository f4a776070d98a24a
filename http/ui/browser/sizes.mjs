// A real browser looks at each page on a desktop and on a phone, in each theme, and walks it with the keyboard.
import { end, faults, look, open, site, step } from './kit.mjs';

const sizes = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };
const paths = ['map', 'chat', 'clients', 'packages', 'reach', 'users', 'enroll', 'certificates', 'history', 'metrics', 'retention', 'backup', 'config', 'logs', 'audit', 'about'];

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
    if (r.left < -1 || r.right > innerWidth + 1) said.push(`${e.outerHTML.slice(0, 80)} is at ${Math.round(r.left)} to ${Math.round(r.right)}`);
    if (e.closest('.map, main.full') && (r.top < 0 || r.bottom > innerHeight + 1)) said.push(`${e.outerHTML.slice(0, 80)} is at ${Math.round(r.top)} to ${Math.round(r.bottom)}`);
  }
  return said;
});

/** Two things that one can use, of which one lies over the other. */
const covered = (page) => page.evaluate(() => {
  const said = [];
  for (const e of document.querySelectorAll('main button, main input:not([type=file]), main select, header.bar button, header.bar select, nav a')) {
    const r = e.getBoundingClientRect();
    if (!r.width || !r.height || e.closest('.scroll, .rows, .hidden, details:not([open])')) continue;
    const [x, y] = [r.left + r.width / 2, r.top + r.height / 2];
    if (x < 0 || y < 0 || x > innerWidth || y > innerHeight) continue;
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
  await page.context().close();
}
await end();
