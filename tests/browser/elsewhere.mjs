// An application in a web page of another origin, on the TypeScript SDK: what it needs of us goes through CORS, and nothing
// else does. Usage: node elsewhere.mjs HOUSE.json SCREENSHOTS
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { buildSync } from 'esbuild';
import { approve, profile, signIn } from './street.mjs';
import { theatre } from './theatre.mjs';

const [, , houseFile, shots] = process.argv;
const { issuer, mcp_url: mcpUrl, page_port: port, tls, users } = JSON.parse(readFileSync(houseFile, 'utf8'));
const [ada] = users;

/** In `server.allowed_origins`; not the same site as Vestibule, which is on `localhost`. */
const LISTED = `https://app.localhost:${port}`;
const UNLISTED = `https://other.localhost:${port}`;

const { browser, run, finish } = await theatre({ issuer, shots, redirectUri: 'http://127.0.0.1:1/callback' });

const script = buildSync({
  entryPoints: [new URL('application.mjs', import.meta.url).pathname],
  bundle: true,
  format: 'esm',
  platform: 'browser',
  write: false,
}).outputFiles[0].contents;

function serve(request, response) {
  if (request.url === '/application.js') {
    response.writeHead(200, { 'content-type': 'text/javascript' }).end(script);
  } else if (/^\/(callback)?(\?|$)/.test(request.url)) {
    const page = '<!doctype html><html lang="en"><title>Application</title><script type="module" src="/application.js"></script>';
    response.writeHead(200, { 'content-type': 'text/html' }).end(page);
  } else {
    response.writeHead(404).end();
  }
}
const secure = https.createServer({ key: readFileSync(tls.key), cert: readFileSync(tls.cert) }, serve);
await new Promise((ready) => secure.listen(port, '127.0.0.1', ready));
const plain = http.createServer(serve);
await new Promise((ready) => plain.listen(0, '127.0.0.1', ready));
/** Needs no setting: a page of this computer. */
const LOOPBACK = `http://127.0.0.1:${plain.address().port}`;

/** Every exchange of a page with Vestibule, preflights included, as the network saw it. Call it for what there was so far. */
async function spy(page) {
  const requests = new Map();
  const answers = [];
  const session = await page.context().newCDPSession(page);
  await session.send('Network.enable');
  session.on('Network.requestWillBeSent', ({ requestId, request, type }) => {
    requests.set(requestId, { method: request.method, url: request.url, type });
  });
  const note = (requestId, status, headers) => {
    const lower = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]);
    answers.push({ requestId, status, headers: Object.fromEntries(lower) });
  };
  // The first for preflights, the second for what a page may not see of the others.
  session.on('Network.responseReceived', ({ requestId, response }) => note(requestId, response.status, response.headers));
  session.on('Network.responseReceivedExtraInfo', ({ requestId, statusCode, headers }) => note(requestId, statusCode, headers));
  return () =>
    answers
      .map(({ requestId, ...answer }) => ({ ...requests.get(requestId), ...answer }))
      .filter(({ url }) => url?.startsWith(issuer))
      .map((exchange) => ({ ...exchange, path: new URL(exchange.url).pathname }));
}

/** What holds for every exchange: no cookie of ours is for a page of another origin. */
function assertNoCredentials(seen) {
  const named = seen().filter(({ headers }) => 'access-control-allow-credentials' in headers);
  assert.deepEqual(named.map(({ method, path }) => `${method} ${path}`), [], 'credentials were allowed');
}

const inPage = (page, what, ...args) =>
  page.evaluate(([name, given]) => globalThis.application[name](...given), [what, args]);

async function open(page, origin, options) {
  await page.goto(`${origin}/`);
  await page.waitForFunction(() => globalThis.application);
  await inPage(page, 'options', { mcpUrl, ...options });
}

/** The whole way, with the page itself at the sign-in or with a window for it. */
async function signedIn(page, origin, options) {
  await open(page, origin, options);
  if (options.way === 'popup') {
    const opened = page.waitForEvent('popup');
    const connected = inPage(page, 'connect');
    const popup = await opened;
    await approve(popup);
    await signIn(popup, ada);
    assert.equal(await connected, 'connected');
    assert.ok(popup.isClosed(), 'the window of the sign-in stays open');
    return;
  }
  assert.equal(await inPage(page, 'connect').catch(() => 'away'), 'away');
  await approve(page);
  await signIn(page, ada);
  await page.waitForURL(`${origin}/callback?**`);
  await page.waitForFunction(() => globalThis.application);
  assert.equal(await inPage(page, 'returned'), 'connected');
}

/** Calls, streams, refreshes and revokes. */
async function lives(page, seen) {
  assert.equal((await inPage(page, 'call', 'whoami')).claims.email, 'ada@example.com');
  const times = await inPage(page, 'stream', 5, 150);
  assert.equal(times.length, 5);
  assert.ok(times[4] - times[0] >= 300, `five steps within ${Math.round(times[4] - times[0])} ms: collected on the way`);
  const before = await inPage(page, 'tokens');
  await inPage(page, 'expire');
  assert.equal((await inPage(page, 'call', 'whoami')).claims.email, 'ada@example.com');
  const after = await inPage(page, 'tokens');
  assert.notEqual(after.access_token, before.access_token);
  assert.equal(await inPage(page, 'revoke', issuer), 200);
  const fetched = new Set(seen().filter(({ type }) => type === 'Fetch').map(({ method, path }) => `${method} ${path}`));
  for (const exchange of [
    'GET /.well-known/oauth-protected-resource/mcp',
    'GET /.well-known/oauth-authorization-server',
    'POST /register',
    'POST /token',
    'POST /revoke',
    'POST /mcp',
  ]) {
    assert.ok(fetched.has(exchange), `${exchange} is not among ${[...fetched].join(', ')}`);
  }
  const preflights = seen().filter(({ method }) => method === 'OPTIONS');
  for (const path of ['/mcp', '/register', '/.well-known/oauth-authorization-server']) {
    assert.ok(preflights.some((exchange) => exchange.path === path && exchange.status === 204), `no preflight for ${path}`);
  }
  const open = seen().filter(({ type, headers }) => type === 'Fetch' && headers['access-control-allow-origin']);
  assert.ok(open.length >= 6, 'headers were not seen');
  assertNoCredentials(seen);
  // What was revoked is over, for pages as well.
  const form = { grant_type: 'refresh_token', refresh_token: after.refresh_token, client_id: (await inPage(page, 'client')).client_id };
  const refused = await page.evaluate(
    async ([url, body]) => {
      const answer = await fetch(url, { method: 'POST', body: new URLSearchParams(body) });
      return { status: answer.status, error: (await answer.json()).error };
    },
    [`${issuer}/token`, form],
  );
  assert.deepEqual(refused, { status: 400, error: 'invalid_grant' });
}

/** How a page fares with `fetch`: the answer's type, status and headers, or the browser's refusal. */
const fetchIn = (page, url, options = {}) =>
  page.evaluate(
    async ([target, given]) => {
      try {
        const answer = await fetch(target, given);
        const text = await answer.text();
        return { type: answer.type, status: answer.status, headers: Object.fromEntries(answer.headers), text };
      } catch (error) {
        return { refused: error.name };
      }
    },
    [url, options],
  );

const SECURE = { ignoreHTTPSErrors: true };

for (const [title, origin, options] of [
  ['2.4, by redirect, from a listed origin', LISTED, { generation: 2, protocol: 'auto', way: 'redirect' }],
  ['2.4, in a window, from a page of this computer', LOOPBACK, { generation: 2, protocol: 'auto', way: 'popup' }],
  ['1.32, by redirect, from a page of this computer', LOOPBACK, { generation: 1, way: 'redirect' }],
  ['1.32, in a window, from a listed origin', LISTED, { generation: 1, way: 'popup' }],
]) {
  await run(`the TypeScript SDK ${title}`, SECURE, async (page) => {
    const seen = await spy(page);
    await signedIn(page, origin, options);
    await lives(page, seen);
  });
}

await run('a page keeps a session, whose id it can read, and ends it', SECURE, async (page) => {
  const seen = await spy(page);
  await signedIn(page, LISTED, { generation: 2, protocol: 'legacy', way: 'popup' });
  assert.match(await inPage(page, 'session'), /\S/);
  await inPage(page, 'endSession');
  assert.ok(seen().some(({ method, path, status }) => method === 'DELETE' && path === '/mcp' && status < 300), 'no DELETE');
  assertNoCredentials(seen);
});

await run('a page can read the challenge', SECURE, async (page) => {
  await open(page, LISTED, { way: 'none' });
  const { status, headers } = await fetchIn(page, mcpUrl, { method: 'POST', headers: { authorization: 'Bearer nonsense' }, body: '{}' });
  assert.equal(status, 401);
  assert.match(headers['www-authenticate'], /^Bearer .*resource_metadata="/);
});

await run('a page reads nothing that is for people', SECURE, async (page, { client, local }) => {
  const seen = await spy(page);
  await open(page, LISTED, { way: 'none' });
  const authorize = client.authorize(local.redirectUri, 's');
  const form = { method: 'POST', body: 'ticket=x&decision=approve', headers: { 'content-type': 'application/x-www-form-urlencoded' } };
  for (const credentials of ['omit', 'include']) {
    for (const [url, options] of [
      [authorize, {}],
      [`${issuer}/consent`, form],
      [`${issuer}/callback?code=c&state=s`, {}],
      [`${issuer}/connections`, {}],
      [`${issuer}/connections/revoke`, form],
      [`${issuer}/logout`, {}],
      [`${issuer}/logout`, form],
      [`${issuer}/introspect`, form],
      [`${issuer}/`, {}],
      // Not even by redirect, which `fetch` follows.
      [`${authorize}&prompt=none`, {}],
    ]) {
      const got = await fetchIn(page, url, { ...options, credentials });
      assert.deepEqual(got, { refused: 'TypeError' }, `${url} with credentials ${credentials}`);
    }
  }
  assertNoCredentials(seen);
});

await run('a page cannot put the consent page in a frame', {}, async (_, { client, local }) => {
  // In a profile of its own: the browser complains, and must.
  const { page, context, complaints } = await profile(browser, SECURE);
  await page.goto(`${LISTED}/`);
  await page.evaluate((url) => {
    const frame = document.createElement('iframe');
    frame.src = url;
    document.body.append(frame);
  }, client.authorize(local.redirectUri, 's'));
  for (let count = 0; count < 50 && complaints.length === 0; count += 1) await page.waitForTimeout(100);
  assert.match(complaints.join(), /frame-ancestors/);
  await context.close();
});

await run('cookies have no way to what pages may call', SECURE, async (page) => {
  const seen = await spy(page);
  await open(page, LISTED, { way: 'none' });
  const form = { method: 'POST', body: 'grant_type=refresh_token', headers: { 'content-type': 'application/x-www-form-urlencoded' } };
  for (const [url, options] of [
    [`${issuer}/.well-known/oauth-authorization-server`, {}],
    [`${issuer}/token`, form],
    [`${issuer}/revoke`, form],
    [`${issuer}/register`, { method: 'POST', body: '{}' }],
    [mcpUrl, { method: 'POST', body: '{}' }],
  ]) {
    assert.deepEqual(await fetchIn(page, url, { ...options, credentials: 'include' }), { refused: 'TypeError' }, url);
    assert.ok((await fetchIn(page, url, options)).status, `${url} without them`);
  }
  assertNoCredentials(seen);
});

await run('a page of an origin that is not listed finds documents, and no door', SECURE, async (page) => {
  const seen = await spy(page);
  await open(page, UNLISTED, { way: 'none' });
  const { status, text } = await fetchIn(page, `${issuer}/.well-known/oauth-protected-resource/mcp`);
  assert.deepEqual([status, JSON.parse(text).resource], [200, mcpUrl]);
  for (const options of [
    { method: 'POST', body: '{}' },
    { method: 'POST', body: '{}', headers: { authorization: 'Bearer x', 'content-type': 'application/json' } },
    { method: 'DELETE' },
    {},
  ]) {
    assert.deepEqual(await fetchIn(page, mcpUrl, options), { refused: 'TypeError' }, JSON.stringify(options));
  }
  assertNoCredentials(seen);
});

secure.close();
plain.close();
secure.closeAllConnections();
plain.closeAllConnections();
await finish();
