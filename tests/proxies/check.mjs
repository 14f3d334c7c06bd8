// What a proxy in between must leave as it is, over HTTP/2 and TLS; and who gets past one that asks Vestibule.
//
//   node check.mjs PUBLIC_URL UPSTREAM_URL front|authz
//
// Exits with 1 and a sentence on the first thing that is not as it must be.
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';

import { FakeBrowser, overHttp1 } from '../clients/fake_browser.mjs';

const [publicUrl, upstreamUrl, mode] = process.argv.slice(2);
const PAGE = 'http://localhost:6274';
const REDIRECT = 'http://127.0.0.1:53682/callback';

function check(condition, message) {
  if (!condition) throw new Error(message);
}

async function post(path, type, body) {
  const answer = await exchange('POST', path, { 'content-type': type }, () => undefined, String(body));
  check(answer.status < 300, `${path} answered ${answer.status}: ${answer.text}`);
  check(answer.headers['cache-control'] === 'no-store', `${path}: cache-control is ${answer.headers['cache-control']}`);
  return JSON.parse(answer.text);
}

/** A page for the browser: of the proxy over the HTTP/2 session, of the provider as it speaks. */
async function page(url, method, { host, ...headers }, body) {
  if (url.origin !== publicUrl) return overHttp1(url, method, { host, ...headers }, body);
  return exchange(method, url.pathname + url.search, headers, () => undefined, body);
}

/** Registration, consent, sign-in and redemption, all through the proxy and over HTTP/2. */
async function signIn() {
  const registration = { redirect_uris: [REDIRECT], token_endpoint_auth_method: 'none' };
  const { client_id } = await post('/register', 'application/json', JSON.stringify(registration));
  const verifier = randomBytes(32).toString('base64url');
  const resource = `${publicUrl}/mcp`;
  const query = new URLSearchParams({
    response_type: 'code',
    client_id,
    redirect_uri: REDIRECT,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    resource,
  });
  const browser = new FakeBrowser({ username: 'ada', password: 'any', request: page });
  const back = new URL(await browser.visit(`${publicUrl}/authorize?${query}`, REDIRECT));
  const code = back.searchParams.get('code');
  check(code, `no code came back: ${back.search}`);
  const form = { grant_type: 'authorization_code', code, client_id, redirect_uri: REDIRECT, code_verifier: verifier, resource };
  const tokens = await post('/token', 'application/x-www-form-urlencoded', new URLSearchParams(form));
  return { token: tokens.access_token, client_id };
}

const session = http2.connect(publicUrl);
await new Promise((resolve, reject) => session.once('connect', resolve).once('error', reject));

/** One exchange. `onData` sees pieces of the body as they come; what it returns ends the stream. */
function exchange(method, path, headers = {}, onData = () => undefined, body = '{}') {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':method': method, ':path': path, ...headers }, { endStream: method !== 'POST' });
    if (method === 'POST') stream.end(body);
    const answer = { status: 0, headers: {}, text: '' };
    stream.on('response', (got) => Object.assign(answer, { status: got[':status'], headers: got }));
    stream.setEncoding('utf8');
    stream.on('data', (piece) => {
      answer.text += piece;
      if (onData(piece)) stream.close(http2.constants.NGHTTP2_CANCEL);
    });
    stream.on('close', () => resolve(answer));
    stream.on('error', reject);
    stream.setTimeout(20_000, () => reject(new Error(`no answer to ${method} ${path}`)));
  });
}

async function challenges() {
  for (const method of ['GET', 'POST', 'DELETE']) {
    const answer = await exchange(method, '/mcp', { origin: PAGE, 'content-type': 'application/json' });
    check(answer.status === 401, `${method} without a token got ${answer.status}`);
    const challenge = answer.headers['www-authenticate'];
    const metadata = `resource_metadata="${publicUrl}/.well-known/oauth-protected-resource/mcp"`;
    check(challenge === `Bearer ${metadata}, scope="mcp:read mcp:write"`, `the challenge is ${challenge}`);
    check(answer.headers['access-control-allow-origin'] === PAGE, `${method}: a page cannot read the challenge`);
    const exposed = answer.headers['access-control-expose-headers'] ?? '';
    check(exposed.includes('WWW-Authenticate'), `exposed are ${exposed}`);
    check(answer.headers['content-type'] === 'application/json', `the refusal is ${answer.headers['content-type']}`);
    check(JSON.parse(answer.text).error === 'unauthorized', `the refusal says ${answer.text}`);
  }
  const bad = await exchange('POST', '/mcp', { authorization: 'Bearer nonsense' });
  check(bad.status === 401, `a bad token got ${bad.status}`);
  check(bad.headers['www-authenticate']?.includes('error="invalid_token"'), 'a bad token is not told as one');
}

async function preflight() {
  const headers = { origin: PAGE, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization' };
  const answer = await exchange('OPTIONS', '/mcp', headers);
  check(answer.status === 204, `the preflight got ${answer.status}`);
  check(answer.headers['access-control-allow-origin'] === PAGE, 'the preflight allows nothing');
  const document = await exchange('GET', '/.well-known/oauth-protected-resource/mcp', { origin: PAGE });
  check(JSON.parse(document.text).resource === `${publicUrl}/mcp`, 'the metadata is not ours');
  check(document.headers['access-control-allow-origin'] === '*', 'a page cannot read the metadata');
}

/** The headers that reached the MCP server, as the first event tells them, and those of the answer. */
async function arrived(headers) {
  const { status, headers: got, text } = await exchange('GET', '/mcp?probe=events', headers, () => true);
  const event = status === 200 && /^data: (.*)$/m.exec(text);
  return { status, got, view: event ? pairs(JSON.parse(event[1]).raw) : [] };
}

async function streams(bearer) {
  const times = [];
  const answer = await exchange('GET', '/mcp?probe=events', bearer, (piece) => {
    for (const _ of piece.matchAll(/^data:/gm)) times.push(performance.now());
    return times.length >= 8;
  });
  check(answer.status === 200, `the stream got ${answer.status}: ${answer.text}`);
  check(answer.headers['content-type'].startsWith('text/event-stream'), 'the stream is none');
  const spread = times.at(-1) - times[0];
  check(spread > 400, `8 events came within ${Math.round(spread)} ms: collected on the way`);
}

/** Small pieces in quick succession: some proxies wait whether more will come, not all in both versions. */
async function hurries(bearer) {
  const ways = {
    'HTTP/2': (onData) => exchange('GET', '/mcp?probe=ticks', bearer, onData),
    'HTTP/1.1': (onData) => streamOverHttp1(https, publicUrl, bearer, onData),
  };
  // Behind something else that ends TLS.
  const plain = `http://127.0.0.1:${process.env.PLAIN}`;
  if (process.env.PLAIN) ways['HTTP/1.1 without TLS'] = (onData) => streamOverHttp1(http, plain, bearer, onData);
  for (const [version, stream] of Object.entries(ways)) {
    const late = [];
    await stream((piece) => {
      for (const [, sent] of piece.matchAll(/^data: (\d+)$/gm)) late.push(Date.now() - Number(sent));
      return late.length >= 60;
    });
    check(late.length >= 60, `${late.length} of 60 events came`);
    const median = late.sort((a, b) => a - b)[Math.floor(late.length / 2)];
    if (process.env.VERBOSE) console.log(`     ${process.env.PROXY}, ${mode}: an event takes ${median} ms over ${version}`);
    check(median < 35, `an event takes ${median} ms on its way over ${version}`);
  }
}

async function streamOverHttp1(protocol, origin, headers, onData) {
  const { host } = new URL(publicUrl);
  const sent = protocol.get(`${origin}/mcp?probe=ticks`, { headers: { ...headers, host }, agent: false });
  const [answer] = await once(sent, 'response');
  answer.setEncoding('utf8');
  for await (const piece of answer) if (onData(piece)) break;
  sent.destroy();
}

async function cutsOff(bearer) {
  const seen = async () => (await fetch(`${upstreamUrl}/seen`)).json();
  const before = await seen();
  await arrived(bearer);
  for (let waited = 0; waited < 2500; waited += 100) {
    const now = await seen();
    if (now.opened > before.opened && now.cut === now.opened) return;
    await sleep(100);
  }
  throw new Error('the MCP server was not told that the client hung up');
}

async function identities(token, client_id) {
  const bearer = { authorization: `Bearer ${token}`, origin: PAGE, cookie: 'a=b' };
  const honest = await arrived(bearer);
  const told = (request) => Object.keys(request).filter((name) => name.replaceAll('_', '-').startsWith('x-vestibule-'));
  check(honest.status === 200, `a good token got ${honest.status}`);
  const view = Object.fromEntries(honest.view);
  check(view.authorization && view.authorization !== bearer.authorization, "the client's token reached the MCP server");
  check(!view.cookie, 'a cookie reached the MCP server');
  check(honest.got['access-control-allow-origin'] === PAGE || !readable(), 'a page cannot read a good answer');
  if (mode === 'front') {
    check(told(view).length === 0, `the gateway told ${told(view)}`);
  } else {
    const expected = { subject: 'ada', client: client_id, groups: 'admins,staff', scope: 'mcp:read mcp:write' };
    for (const [name, value] of Object.entries(expected)) {
      check(view[`x-vestibule-${name}`] === value, `${name} is ${view[`x-vestibule-${name}`]}, expected ${value}`);
    }
  }
  // Forged identities: refused, or not there.
  for (const name of ['x-vestibule-subject', 'x-vestibule-groups', 'x-vestibule-other', 'x_vestibule_subject']) {
    const forged = await arrived({ ...bearer, [name]: 'root' });
    const values = forged.view.filter(([, value]) => value === 'root');
    check([200, 400, 403].includes(forged.status) && values.length === 0, `${name}: root got ${forged.status} ${values}`);
  }
}

const pairs = (raw) => raw.flatMap((name, index) => (index % 2 ? [] : [[name.toLowerCase(), raw[index + 1]]]));

/** Whether the sample lets pages read good answers of the MCP server itself: the gateway, nginx and Envoy do. */
const readable = () => mode === 'front' || ['nginx', 'envoy'].includes(process.env.PROXY);

async function attacks(token) {
  const before = (await (await fetch(`${upstreamUrl}/seen`)).json()).opened;
  const lies = {
    'x-forwarded-uri': '/.well-known/oauth-protected-resource',
    'x-forwarded-method': 'OPTIONS',
    'x-original-uri': '/open',
    'x-original-url': `${publicUrl}/open`,
    'x-original-method': 'OPTIONS',
    'x-http-method-override': 'OPTIONS',
    'x-forwarded-host': 'evil.example',
  };
  for (const [name, value] of Object.entries(lies)) {
    const answer = await exchange('GET', '/mcp?probe=events', { [name]: value }, () => true);
    check([401, 403].includes(answer.status), `without a token, but with ${name}: ${answer.status}`);
  }
  for (const path of ['//mcp', '/./mcp', '/x/../mcp', '/%6dcp', '/mcp/', '/mcp/%2e%2e/mcp', '/mcp%2f', '/MCP', '/mcp/x']) {
    const answer = await exchange('GET', `${path}?probe=events`, {}, () => true);
    check(answer.status >= 300, `${path} without a token got ${answer.status}`);
  }
  const after = (await (await fetch(`${upstreamUrl}/seen`)).json()).opened;
  check(after === before, 'a request without a token reached the MCP server');
  if (mode !== 'authz') return;
  // The question that only the proxy may ask, asked by a client that has a token.
  const { host } = new URL(publicUrl);
  const headers = {
    authorization: `Bearer ${token}`,
    'x-forwarded-method': 'POST',
    'x-forwarded-uri': '/mcp',
    'x-original-method': 'POST',
    'x-original-uri': '/mcp',
    'x-original-host': host,
    'x-original-proto': 'https',
  };
  for (const path of ['/authz', '/authz/mcp', '/authz/', '//authz', '/./authz/mcp', '/%61uthz']) {
    const answer = await exchange('GET', path, headers);
    check(answer.status >= 400 && !answer.headers.authorization, `a client asked at ${path} and got ${answer.status}`);
  }
}

try {
  check(session.alpnProtocol === 'h2', `the front speaks ${session.alpnProtocol}`);
  await challenges();
  await preflight();
  const { token, client_id } = await signIn();
  const bearer = { authorization: `Bearer ${token}` };
  await streams(bearer);
  await hurries(bearer);
  await cutsOff(bearer);
  await identities(token, client_id);
  await attacks(token);
  session.destroy();
} catch (error) {
  console.error(`check: ${process.env.PROXY} as ${mode}: ${error.stack ?? error}`);
  process.exit(1);
}
