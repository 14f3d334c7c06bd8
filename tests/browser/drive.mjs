// A person with a real browser before `vestibule dev`, with a store and without. Usage: node drive.mjs READY.json SCREENSHOTS BARE.json
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { approve, deny, profile, register, signIn } from './street.mjs';
import { JAPANESE, theatre } from './theatre.mjs';

const [, , readyFile, shots, bareFile] = process.argv;
const { issuer, mcp_url: mcpUrl, users } = JSON.parse(readFileSync(readyFile, 'utf8'));
const [ada, second] = users;
const bare = JSON.parse(readFileSync(bareFile, 'utf8'));

/** Registered without the port that the listener has: it is free on the loopback (RFC 8252 §7.3). */
const LOOPBACK = 'http://127.0.0.1:1/callback';
const CURSOR = 'cursor://anysphere.cursor-mcp/oauth/callback';
const WEBSITE = 'https://app.example/callback';

const { browser, run, look, finish } = await theatre({ issuer, shots, redirectUri: LOOPBACK });

/** A website that nobody has to run. */
const website = (context) =>
  context.route('https://app.example/**', (route) =>
    route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>Website</title>' }),
  );

const body = (page) => page.textContent('body');

const stories = {
  'approve, sign in, and the code reaches another port than registered': async (page, { client, local }) => {
    await page.goto(client.authorize(local.redirectUri, 'state &=#'));
    await approve(page);
    await signIn(page, ada);
    await local.received(1);
    const [answer] = local.answers;
    assert.equal(answer.get('state'), 'state &=#');
    assert.equal(answer.get('iss'), issuer);
    const { status, body } = await client.redeem(answer.get('code'), local.redirectUri);
    assert.equal(status, 200, JSON.stringify(body));
  },

  'the keyboard is enough': async (page, { client, local }) => {
    await page.goto(client.authorize(local.redirectUri, 's'));
    const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.value);
    const order = [];
    for (let count = 0; count < 3; count += 1) {
      await page.keyboard.press('Tab');
      order.push(await focused());
    }
    assert.deepEqual(order, ['elsewhere', 'approve', 'deny']);
    await page.keyboard.press('Shift+Tab');
    await page.keyboard.press('Enter');
    await page.waitForSelector('input[name=username]');
  },

  'deny goes straight to a client on this computer': async (page, { client, local }) => {
    await page.goto(client.authorize(local.redirectUri, 's'));
    await deny(page);
    await local.received(1);
    assert.equal(local.answers[0].get('error'), 'access_denied');
    assert.equal(local.answers[0].get('iss'), issuer);
    assert.equal(local.answers[0].get('state'), 's');
  },

  'deny stops at a page before a website': async (page, { context }) => {
    await website(context);
    const client = await register(issuer, WEBSITE);
    await page.goto(client.authorize(WEBSITE, 's'));
    await deny(page);
    await page.waitForSelector('text=Nothing was allowed');
    assert.equal(new URL(page.url()).origin, issuer);
    await page.click('a.button');
    await page.waitForURL(`${WEBSITE}?**`);
    assert.equal(new URL(page.url()).searchParams.get('error'), 'access_denied');
  },

  'approve reaches a website by redirect': async (page, { context }) => {
    await website(context);
    const client = await register(issuer, WEBSITE);
    await page.goto(client.authorize(WEBSITE, 's'));
    await approve(page);
    await signIn(page, ada);
    await page.waitForURL(`${WEBSITE}?code=**`);
  },

  'two tabs, first come first served': (page, street) => twoTabs(page, street, false),
  'two tabs, the second one first': (page, street) => twoTabs(page, street, true),

  'two people in two profiles do not mix': async (page, { client, local }) => {
    const other = await profile(browser);
    await page.goto(client.authorize(local.redirectUri, 'one'));
    await other.page.goto(client.authorize(local.redirectUri, 'two'));
    await approve(page);
    await approve(other.page);
    await signIn(other.page, second);
    await local.received(1);
    await signIn(page, ada);
    await local.received(2);
    assert.deepEqual(local.answers.map((answer) => answer.get('state')), ['two', 'one']);
    await other.context.close();
  },

  'a consent page from another profile cannot be approved here': async (page, { client, local }) => {
    const attacker = await profile(browser);
    await attacker.page.goto(client.authorize(local.redirectUri, 's'));
    const ticket = await attacker.page.inputValue('input[name=ticket]');
    await attacker.context.close();
    await page.goto(client.authorize(local.redirectUri, 's'));
    await page.context().clearCookies();
    await page.goto(client.authorize(local.redirectUri, 's'));
    await page.evaluate((value) => (document.querySelector('input[name=ticket]').value = value), ticket);
    await approve(page);
    await page.waitForSelector('text=stopped for your safety');
    assert.equal(local.answers.length, 0);
  },

  'back and reload do no harm at any step': async (page, { client, local }) => {
    await page.goto(client.authorize(local.redirectUri, 's'));
    await page.reload();
    await approve(page);
    await page.waitForSelector('input[name=username]');
    await page.reload();
    await page.goBack();
    await page.waitForSelector('button[value=approve]');
    await page.goForward();
    await page.waitForSelector('input[name=username]');
    await page.goBack();
    await page.reload();
    await approve(page);
    await signIn(page, ada);
    await local.received(1);
    const code = local.answers[0].get('code');
    // The client has it before the browser shows what the client answered.
    await page.waitForSelector('text=The client has it');
    await page.reload();
    await page.goBack();
    assert.notEqual(await body(page), '');
    await page.goForward();
    const { status, body: tokens } = await client.redeem(code, local.redirectUri);
    assert.equal(status, 200, JSON.stringify(tokens));
    assert.deepEqual(new Set(local.answers.map((answer) => answer.get('code'))).size, 1);
  },

  'an application with its own scheme is opened from the last page': async (page) => {
    const client = await register(issuer, CURSOR, 'Cursor');
    const session = await page.context().newCDPSession(page);
    const hops = [];
    await session.send('Page.enable');
    session.on('Page.frameRequestedNavigation', ({ url, reason }) => hops.push({ url, reason }));
    await page.goto(client.authorize(CURSOR, 's'));
    await approve(page);
    await signIn(page, ada);
    await page.waitForSelector('text=You are signed in');
    const link = await page.getAttribute('a.button', 'href');
    assert.ok(link.startsWith(`${CURSOR}?code=`), link);
    const launched = ({ url, reason }) => url === link && reason === 'metaTagRefresh';
    for (let count = 0; count < 50 && !hops.some(launched); count += 1) await page.waitForTimeout(100);
    assert.ok(hops.some(launched), JSON.stringify(hops));
    await page.click('a.button');
    assert.match(await body(page), /You can close this window/);
    const code = new URL(link).searchParams.get('code');
    // A reload finds the sign-in finished, and says so.
    await page.reload();
    await page.waitForSelector('text=Reference');
    assert.equal((await client.redeem(code, CURSOR)).status, 200);
  },

  'deny for an application with its own scheme': async (page) => {
    const client = await register(issuer, CURSOR, 'Cursor');
    await page.goto(client.authorize(CURSOR, 's'));
    await deny(page);
    await page.waitForSelector('text=Nothing was allowed');
    const link = await page.getAttribute('a.button', 'href');
    assert.equal(new URL(link).searchParams.get('error'), 'access_denied');
  },

  'a client on another computer gets its answer by hand': async (page, { client, local }) => {
    await page.goto(client.authorize(local.redirectUri, 's'));
    await page.check('text=My application runs on another computer');
    await approve(page);
    await signIn(page, ada);
    await page.waitForSelector('text=You are signed in');
    await page.waitForTimeout(500);
    assert.equal(local.answers.length, 0, 'the answer was redirected all the same');
    const [command, address] = await page.locator('.copy').allTextContents();
    assert.equal(command, `curl "${address}"`);
    // One click selects all of it.
    await page.click('.copy >> nth=1');
    assert.equal(await page.evaluate(() => getSelection().toString()), address);
    await fetch(address);
    await local.received(1);
    assert.equal((await client.redeem(local.answers[0].get('code'), local.redirectUri)).status, 200);
  },

  'what the user wants remembered is not asked again, and a stranger\'s link is': async (page, { context, local }) => {
    await website(context);
    const client = await portal();
    await portalOpens(page, local, client, 'localhost', 'one');
    assert.equal(await page.isChecked('#remember'), false);
    await page.check('text=Do not ask again for 30 days');
    await approve(page);
    await signIn(page, ada);
    await page.waitForURL(`${WEBSITE}?code=**`);
    assert.equal((await client.redeem(codeOf(page), WEBSITE)).status, 200);
    // Another site, and the address line, in which a redirect may have been hidden.
    await portalOpens(page, local, client, '127.0.0.1', 'two');
    await page.waitForSelector('button[value=approve]');
    await page.goto(client.authorize(WEBSITE, 'three'));
    await page.waitForSelector('button[value=approve]');
    assert.equal(await page.locator('#remember').count(), 0);
    // Our own site: no page of ours and none of the provider's.
    await portalOpens(page, local, client, 'localhost', 'four');
    await page.waitForURL(`${WEBSITE}?code=**`);
    assert.equal(new URL(page.url()).searchParams.get('state'), 'four');
    assert.equal((await client.redeem(codeOf(page), WEBSITE)).status, 200);
    // Forgotten on the page for it.
    await page.goto(`${issuer}/logout`);
    await page.click('button[name=forget]');
    await page.waitForURL(`${issuer}/logout`);
    assert.equal(await page.locator('button[name=forget]').count(), 0);
  },

  'a person sees what is connected, and ends it': async (page, { local }) => {
    const client = await register(issuer, LOOPBACK, 'Mine to end');
    await page.goto(client.authorize(local.redirectUri, 's'));
    await approve(page);
    await signIn(page, ada);
    await local.received(1);
    const { body: tokens } = await client.redeem(local.answers[0].get('code'), local.redirectUri);
    await openConnections(page);
    await page.locator('section', { hasText: 'Mine to end' }).locator('button').click();
    await page.waitForSelector('[role=status]');
    assert.equal(page.url(), `${issuer}/connections`);
    assert.equal((await client.refresh(tokens.refresh_token)).status, 400);
    await page.click('form[action="/connections/sign-out"] button');
    await page.waitForSelector('button[name=provider]');
  },

  'another account can be chosen on the consent page': async (page, { client, local }) => {
    await openConnections(page, ada);
    await page.goto(client.authorize(local.redirectUri, 's'));
    assert.match(await body(page), /Last time/);
    await page.check('#another');
    await approve(page);
    await signIn(page, second);
    await local.received(1);
  },

  'the landing page has links that open the editors': async (page) => {
    await page.goto(`${issuer}/`);
    const links = await page.$$eval('a.button', (all) => all.map((link) => link.getAttribute('href')));
    const named = JSON.parse(decodeURIComponent(links.find((link) => link.startsWith('vscode:')).split('?')[1]));
    assert.deepEqual(named, { name: 'vestibule-dev', type: 'http', url: mcpUrl });
    const cursor = new URL(links.find((link) => link.startsWith('cursor:'))).searchParams;
    assert.deepEqual(JSON.parse(atob(cursor.get('config'))), { url: mcpUrl });
    await page.click('summary >> text=Codex');
    await page.click('.copy >> text=codex mcp add');
    const selected = await page.evaluate(() => getSelection().toString());
    assert.equal(selected, `codex mcp add vestibule-dev --url ${mcpUrl}`);
  },

  'a person at the address of a resource gets help, with status 401': async (page) => {
    const response = await page.goto(mcpUrl);
    assert.equal(response.status(), 401);
    assert.match(response.headers()['www-authenticate'], /^Bearer resource_metadata=/);
    assert.match(await body(page), /not for browsers/);
  },
};

/** A client that proves itself, on a website. */
const portal = () => register(issuer, WEBSITE, 'Portal', { token_endpoint_auth_method: 'client_secret_post' });
const codeOf = (page) => new URL(page.url()).searchParams.get('code');

/** A page on `host` has a link to the sign-in, and the user follows it. The server is on `localhost`. */
async function portalOpens(page, local, client, host, state) {
  await page.goto(local.linking(host, client.authorize(WEBSITE, state)));
  await page.click('text=Connect');
}

async function twoTabs(first, { client, local, context }, secondFirst) {
  const other = await context.newPage();
  await first.goto(client.authorize(local.redirectUri, 'first'));
  await other.goto(client.authorize(local.redirectUri, 'second'));
  await approve(first);
  await approve(other);
  await first.waitForSelector('input[name=username]');
  await other.waitForSelector('input[name=username]');
  const order = secondFirst ? [other, first] : [first, other];
  await signIn(order[0], ada);
  await local.received(1);
  await signIn(order[1], ada);
  await local.received(2);
  const expected = secondFirst ? ['second', 'first'] : ['first', 'second'];
  assert.deepEqual(local.answers.map((answer) => answer.get('state')), expected);
  for (const answer of local.answers) {
    assert.equal((await client.redeem(answer.get('code'), local.redirectUri)).status, 200);
  }
}

/** Signs in at `/connections`; the provider may know the browser already. */
async function openConnections(page, user) {
  await page.goto(`${issuer}/connections`);
  await page.click('button[name=provider]');
  if (user) await signIn(page, user);
  await page.waitForSelector('form[action="/connections/sign-out"]');
}

/** Every kind of page of `crates/vestibule/src/pages` once, left open for a look; choice.mjs has those for several providers. */
const PAGES = {
  consent: async (page, { client, local }) => {
    await page.goto(client.authorize(local.redirectUri, 's'));
  },
  'consent-website': async (page) => {
    const client = await register(issuer, WEBSITE, 'A client with quite a long name that goes on for a while');
    await page.goto(client.authorize(WEBSITE, 's'));
  },
  'consent-long': async (page, { local }) => {
    const client = await register(issuer, LOOPBACK, 'Onewordthatgoesonandonandonandonandonandonandonandon');
    await page.goto(client.authorize(local.redirectUri, 's'));
  },
  'consent-remember': async (page, { local }) => {
    await portalOpens(page, local, await portal(), 'localhost', 's');
    await page.waitForSelector('#remember');
  },
  'consent-scheme': async (page) => {
    const client = await register(issuer, CURSOR, 'Cursor');
    await page.goto(client.authorize(CURSOR, 's'));
  },
  return: async (page) => {
    const client = await register(issuer, WEBSITE);
    await page.goto(client.authorize(WEBSITE, 's'));
    await deny(page);
    await page.waitForSelector('a.button');
  },
  launch: async (page) => {
    const client = await register(issuer, CURSOR, 'Cursor');
    await page.goto(client.authorize(CURSOR, 's'));
    await approve(page);
    await signIn(page, ada);
    await page.waitForSelector('a.button');
  },
  carry: async (page, { client, local }) => {
    await page.goto(client.authorize(local.redirectUri, 's'));
    await page.check('#elsewhere');
    await approve(page);
    await signIn(page, ada);
    await page.waitForSelector('.copy');
  },
  error: async (page) => {
    await page.goto(`${issuer}/authorize?client_id=unknown`);
  },
  logout: async (page) => {
    await page.goto(`${issuer}/logout`);
  },
  'logout-done': async (page) => {
    await page.goto(`${issuer}/logout/done`);
  },
  'logout-remembers': async (page, { context, local }) => {
    await website(context);
    const client = await portal();
    await portalOpens(page, local, client, 'localhost', 's');
    await page.check('#remember');
    await approve(page);
    await signIn(page, ada);
    await page.waitForURL(`${WEBSITE}?code=**`);
    await page.goto(`${issuer}/logout`);
    await page.waitForSelector('button[name=forget]');
  },
  'connections-no-record': async (page) => {
    await page.goto(`${bare.issuer}/connections`);
    assert.equal(await page.locator('form').count(), 0);
  },
  'connections-sign-in': async (page) => {
    await page.goto(`${issuer}/connections`);
  },
  connections: async (page, { client, local }) => {
    await page.goto(client.authorize(local.redirectUri, 's'));
    await approve(page);
    await signIn(page, ada);
    await local.received(1);
    await client.redeem(local.answers[0].get('code'), local.redirectUri);
    await openConnections(page);
    for (const summary of await page.$$('details:not([open]) summary')) await summary.press('Enter');
  },
  'connections-ended': async (page, street) => {
    await PAGES.connections(page, street);
    await page.click('button[name=all]');
    await page.waitForSelector('[role=status]');
  },
  'consent-account': async (page, { client, local }) => {
    await openConnections(page, ada);
    await page.goto(client.authorize(local.redirectUri, 's'));
    await page.waitForSelector('#another');
  },
  landing: async (page) => {
    await page.goto(`${issuer}/`);
    for (const summary of await page.$$('details:not([open]) summary')) await summary.press('Enter');
  },
  resource: async (page) => {
    await page.goto(mcpUrl);
  },
};

for (const [name, story] of Object.entries(stories)) await run(name, {}, story);

const WITHOUT_SCRIPT = [
  'what the user wants remembered is not asked again, and a stranger\'s link is',
  'a person sees what is connected, and ends it',
  'approve, sign in, and the code reaches another port than registered',
  'deny stops at a page before a website',
  'an application with its own scheme is opened from the last page',
];
for (const name of WITHOUT_SCRIPT) {
  await run(`without JavaScript: ${name}`, { javaScriptEnabled: false }, stories[name]);
}
await run('without JavaScript: the landing page unfolds', { javaScriptEnabled: false }, async (page) => {
  await page.goto(`${issuer}/`);
  const command = page.locator('.copy', { hasText: 'codex mcp add' });
  assert.equal(await command.isVisible(), false);
  await page.click('summary >> text=Codex');
  assert.equal(await command.isVisible(), true);
});

await look(PAGES);
const { consent, carry, launch, error, logout, landing, connections } = PAGES;
const others = { 'consent-remember': PAGES['consent-remember'], 'consent-account': PAGES['consent-account'] };
await look({ consent, ...others, connections, carry, launch, error, logout, landing }, JAPANESE);
await finish();
