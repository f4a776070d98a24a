// Two users of a group chat on their pages, with each other and with a phone; a third one has no part in it.
import { end, look, open, site, step, until } from './kit.mjs';

const login = async (user) => {
  const page = await open(site.enroll, { expect: ['status of 401'], axe: true });
  await page.fill('input[name=username]', user);
  await page.fill('input[name=password]', site.password);
  await page.click('button.primary');
  await page.waitForSelector('.pill.on');
  return page;
};
const chat = async (page) => {
  await page.click('nav a[href="#/chat"]');
  await page.locator('.thread [role=status]', { hasText: 'You are' }).waitFor();
};
const room = (page, name) => page.locator('.rooms li button').filter({ has: page.getByText(name, { exact: true }) });
const say = async (page, text) => {
  await page.fill('textarea', text);
  await page.keyboard.press('Enter');
  await until('it is sent', async () => (await page.inputValue('textarea')) === '');
};
const has = (page, text) => page.locator('.thread li p', { hasText: text }).waitFor();
const evil = '<img src=x onerror=alert(1)> "quoted" & \'so\'';

const ann = await login('ann');
const bob = await login('bob');
const red = await login('red');
await step('they are contacts', async () => {
  for (const page of [ann, bob, red]) await chat(page);
  await room(ann, 'bob').waitFor();
  await room(bob, 'ann').waitFor();
  await room(ann, 'CS-alice').waitFor();
  if (await room(red, 'ann').count()) throw new Error('red sees Blue');
});
await step('a message to everybody', async () => {
  await say(ann, evil);
  await has(bob, evil);
  await has(ann, evil);
  if (await bob.$('.thread img')) throw new Error('a message has become a picture');
  await look(bob, 'chat');
});
await step('a message to one', async () => {
  await room(ann, 'bob').click();
  await say(ann, 'for bob alone');
  await has(ann, 'for bob alone');
  await ann.locator('.thread .tag', { hasText: 'delivered' }).waitFor();
  await room(bob, 'ann').locator('.tag.warn').waitFor();
  await look(bob, 'chat-unread');
  await room(bob, 'ann').click();
  await has(bob, 'for bob alone');
  await room(bob, 'ann').locator('.tag.warn').waitFor({ state: 'detached' });
  await say(bob, 'and back');
  await has(ann, 'and back');
});
await step('a page elsewhere tells of what is new', async () => {
  await bob.click('nav a[href="#/about"]');
  await say(ann, 'are you there?');
  await bob.locator('nav a[href="#/chat"] .tag').waitFor();
});
await step('to a track of the map', async () => {
  await ann.click('nav a[href="#/map"]');
  await ann.locator('.rows .row').filter({ has: ann.getByText('CS-alice', { exact: true }) }).click();
  await ann.locator('.details a', { hasText: 'Chat' }).click();
  await ann.locator('.thread h2', { hasText: 'CS-alice' }).waitFor();
  await say(ann, 'from the map');
  await has(ann, 'from the map');
});
await step('another group has heard nothing', async () => {
  const text = await red.innerText('.chat');
  if (/ann|bob|onerror|alone/.test(text)) throw new Error(text);
});
await step('what was said is there again', async () => {
  await until('from the history', async () => {
    await ann.reload();
    await ann.waitForTimeout(1500);
    await room(ann, 'bob').click();
    return (await ann.innerText('.thread ol')).includes('for bob alone');
  });
  await has(ann, 'and back');
  await room(ann, 'All Chat Rooms').click();
  await has(ann, evil);
});
await end();
