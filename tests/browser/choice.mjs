// A person before a Vestibule that has two providers. Usage: node choice.mjs HOUSE.json SCREENSHOTS
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { approve, register, signIn } from './street.mjs';
import { JAPANESE, theatre } from './theatre.mjs';

const [, , houseFile, shots] = process.argv;
const { issuer, providers, users, guests, documented } = JSON.parse(readFileSync(houseFile, 'utf8'));
const LOOPBACK = 'http://127.0.0.1:1/callback';

const { run, look, finish } = await theatre({ issuer, shots, redirectUri: LOOPBACK });

/** Where the browser is, when it asks for the password. */
async function signsInAt(page, provider, user) {
  await page.waitForSelector('input[name=username]');
  assert.equal(new URL(page.url()).origin, new URL(provider.domain).origin);
  await signIn(page, user);
}

/** The answer has come to the client, and the code is good. */
async function redeems(local, client) {
  await local.received(1);
  const { status, body } = await client.redeem(local.answers[0].get('code'), local.redirectUri);
  assert.equal(status, 200, JSON.stringify(body));
}

/** Where a tab stop is: the value of a choice, the id of a box. */
const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.value);

const stories = {
  'the first provider is chosen until somebody chooses': async (page, { client, local }) => {
    await page.goto(client.authorize(local.redirectUri, 's'));
    assert.equal(await page.isChecked('input[value=staff]'), true);
    await approve(page);
    await signsInAt(page, providers.staff, users[0]);
    await redeems(local, client);
  },

  'a person chooses the other provider by its name': async (page, { client, local }) => {
    await page.goto(client.authorize(local.redirectUri, 's'));
    await page.click('label:has-text("Guest account")');
    await approve(page);
    await signsInAt(page, providers.guests, guests[0]);
    await redeems(local, client);
  },

  'the provider of the last sign-in is chosen the next time': async (page, { client, local }) => {
    await connections(page, 'guests', guests[0]);
    await page.goto(client.authorize(local.redirectUri, 's'));
    assert.equal(await page.isChecked('input[value=guests]'), true);
    assert.equal(await page.isChecked('input[value=staff]'), false);
    await approve(page);
    await redeems(local, client);
  },

  'deny says so, whatever is chosen': async (page, { client, local }) => {
    await page.goto(client.authorize(local.redirectUri, 's'));
    await page.check('input[value=guests]');
    await page.click('button[value=deny]');
    await local.received(1);
    assert.equal(local.answers[0].get('error'), 'access_denied');
  },

  'two tabs at two providers do not mix': async (page, { context, client, local }) => {
    const other = await context.newPage();
    await page.goto(client.authorize(local.redirectUri, 'at staff'));
    await other.goto(client.authorize(local.redirectUri, 'at guests'));
    await other.check('input[value=guests]');
    await approve(page);
    await approve(other);
    await signsInAt(other, providers.guests, guests[0]);
    await local.received(1);
    await signsInAt(page, providers.staff, users[0]);
    await local.received(2);
    assert.deepEqual(local.answers.map((answer) => answer.get('state')), ['at guests', 'at staff']);
    for (const answer of local.answers) {
      assert.equal((await client.redeem(answer.get('code'), local.redirectUri)).status, 200);
    }
  },

  'a person sees the connections of each provider, and only those': async (page, { local }) => {
    const name = `Only with guests ${randomUUID()}`;
    const client = await register(issuer, LOOPBACK, name);
    await page.goto(client.authorize(local.redirectUri, 's'));
    await page.check('input[value=guests]');
    await approve(page);
    await signIn(page, guests[0]);
    await redeems(local, client);
    await connections(page, 'guests');
    assert.equal(await page.locator('section', { hasText: name }).count(), 1);
    await page.click('form[action="/connections/sign-out"] button');
    await connections(page, 'staff', users[0]);
    assert.equal(await page.locator('section', { hasText: name }).count(), 0);
  },
};

/** The list at `/connections`, after a sign-in at this provider; it may know the browser already. */
async function connections(page, provider, user) {
  await page.goto(`${issuer}/connections`);
  await page.click(`button[value=${provider}]`);
  await page.waitForSelector('input[name=username], form[action="/connections/sign-out"]');
  if (user && (await page.locator('input[name=username]').count())) await signIn(page, user);
  await page.waitForSelector('form[action="/connections/sign-out"]');
}

for (const [name, story] of Object.entries(stories)) {
  await run(name, {}, story);
  await run(`without JavaScript: ${name}`, { javaScriptEnabled: false }, story);
}

await run('the keyboard is enough to choose', {}, async (page, { client, local }) => {
  await page.goto(client.authorize(local.redirectUri, 's'));
  // One stop for the whole choice, the arrows within it.
  await page.keyboard.press('Tab');
  assert.equal(await focused(page), 'staff');
  await page.keyboard.press('ArrowDown');
  assert.equal(await focused(page), 'guests');
  assert.equal(await page.isChecked('input[value=guests]'), true);
  const order = [];
  for (let count = 0; count < 3; count += 1) {
    await page.keyboard.press('Tab');
    order.push(await focused(page));
  }
  assert.deepEqual(order, ['elsewhere', 'approve', 'deny']);
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Enter');
  await signsInAt(page, providers.guests, guests[0]);
  await redeems(local, client);
});

const PAGES = {
  'choice-consent': async (page, { client, local }) => {
    await page.goto(client.authorize(local.redirectUri, 's'));
    await page.waitForSelector('input[value=guests]');
  },
  'choice-consent-account': async (page, { client, local }) => {
    await connections(page, 'guests', guests[0]);
    await page.goto(client.authorize(local.redirectUri, 's'));
    await page.waitForSelector('#another');
  },
  'choice-consent-document': async (page, { client, local }) => {
    await page.goto(client.authorize(local.redirectUri, 's', { client_id: documented }));
    await page.waitForSelector('text=client.example');
  },
  'choice-connections': async (page) => {
    await page.goto(`${issuer}/connections`);
    await page.waitForSelector('button[value=guests]');
  },
  'choice-landing': async (page) => {
    await page.goto(`${issuer}/`);
  },
  'choice-logout': async (page) => {
    await page.goto(`${issuer}/logout`);
  },
};
await look(PAGES);
await look(PAGES, JAPANESE);
await finish();
