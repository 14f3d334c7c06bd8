// Drives the TypeScript SDK's client through a whole life with one MCP server: discovery, registration, consent and
// sign-in in a browser, tool calls, streaming, refresh, revocation.
//
//   node drive.mjs MCP_URL USERNAME PASSWORD [GROUP,GROUP…]
//
// PROTOCOL=legacy speaks the newest revision with sessions instead of the newest of all.
// Prints one JSON line. Exits with 1 and a sentence on the first thing that is not as it must be.
import * as sdk from '@modelcontextprotocol/client';

import { FakeBrowser } from '../fake_browser.mjs';

const STEPS = 5;
const INTERVAL_MS = 200;

const [mcpUrl, username, password, groups] = process.argv.slice(2);
if (!password) {
  console.error('usage: drive.mjs MCP_URL USERNAME PASSWORD [GROUP,GROUP…]');
  process.exit(2);
}

class Failure extends Error {}

function check(condition, message) {
  if (!condition) throw new Failure(message);
}

/** Every request the SDK makes to a token endpoint, by grant type. */
const grants = { authorization_code: 0, refresh_token: 0 };
async function countingFetch(input, init) {
  const form = init?.body instanceof URLSearchParams ? init.body : undefined;
  if (form?.has('grant_type')) grants[form.get('grant_type')] = (grants[form.get('grant_type')] ?? 0) + 1;
  return fetch(input, init);
}

/** An application's credential store, in memory. */
class Application {
  redirectUrl = `http://127.0.0.1:${49152 + Math.floor(Math.random() * 16000)}/callback`;
  browser = new FakeBrowser({ username, password, log: (line) => process.env.VERBOSE && console.error(line) });
  stored = {};

  get clientMetadata() {
    return {
      client_name: 'TypeScript SDK driver',
      redirect_uris: [this.redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
      application_type: 'native',
    };
  }

  state() {
    this.stored.state = crypto.randomUUID();
    return this.stored.state;
  }

  clientInformation = () => this.stored.client;
  saveClientInformation = (client) => void (this.stored.client = client);
  tokens = () => this.stored.tokens;
  saveTokens = (tokens) => void (this.stored.tokens = tokens);
  codeVerifier = () => this.stored.verifier;
  saveCodeVerifier = (verifier) => void (this.stored.verifier = verifier);
  discoveryState = () => this.stored.discovery;
  saveDiscoveryState = (discovery) => void (this.stored.discovery = discovery);

  async redirectToAuthorization(url) {
    this.callback = new URL(await this.browser.visit(url.href, this.redirectUrl));
    const parameters = this.callback.searchParams;
    check(!parameters.has('error'), `authorization refused: ${parameters.get('error')}: ${parameters.get('error_description')}`);
    check(parameters.get('state') === this.stored.state, 'the state that came back is not the one that was sent');
  }
}

function connector(application) {
  const transport = new sdk.StreamableHTTPClientTransport(new URL(mcpUrl), {
    authProvider: application,
    fetch: countingFetch,
  });
  const client = new sdk.Client(
    { name: 'typescript-driver', version: '0' },
    { versionNegotiation: { mode: process.env.PROTOCOL ?? 'auto' } },
  );
  return { client, transport };
}

async function signIn(application) {
  const first = connector(application);
  const refusal = await first.client.connect(first.transport).then(() => undefined, (error) => error);
  check(refusal, 'the server let a client in without a token');
  check(application.callback, `no sign-in was asked for: ${refusal.stack ?? refusal}`);
  await first.transport.finishAuth(application.callback.searchParams);
  await first.client.close().catch(() => {});
  const second = connector(application);
  await second.client.connect(second.transport);
  return second.client;
}

async function whoami(client) {
  const answer = await client.callTool({ name: 'whoami', arguments: {} });
  check(!answer.isError, `whoami failed: ${JSON.stringify(answer.content)}`);
  return answer.structuredContent;
}

async function streams(client) {
  const times = [];
  const options = { onprogress: () => times.push(performance.now()), timeout: 30_000 };
  const answer = await client.callTool({ name: 'countdown', arguments: { from: STEPS, interval_ms: INTERVAL_MS } }, options);
  const end = performance.now();
  check(!answer.isError, `countdown failed: ${JSON.stringify(answer.content)}`);
  check(times.length >= 3, `${times.length} of ${STEPS} progress notifications arrived`);
  const spread = times.at(-1) - times[0];
  const least = ((times.length - 1) * INTERVAL_MS) / 2;
  check(spread >= least, `progress came in a lump: ${Math.round(spread)} ms from first to last, at least ${least} expected`);
  return { notifications: times.length, spread_ms: Math.round(spread), first_before_result_ms: Math.round(end - times[0]) };
}

async function obeysGroups(client, identity) {
  if (identity.bearer.kind !== 'jwt') return;
  if (groups !== undefined) {
    const expected = groups.split(',').filter(Boolean).sort().join();
    check([...identity.groups].sort().join() === expected, `groups are ${identity.groups}, expected ${expected}`);
  }
  const report = await client.callTool({ name: 'admin_report', arguments: {} });
  check(Boolean(report.isError) !== identity.groups.includes('admins'), `admin_report for ${identity.groups}: isError ${report.isError}`);
}

async function refreshes(client, application) {
  const before = application.stored.tokens;
  check(before.refresh_token, 'no refresh token was issued');
  const refreshed = grants.refresh_token;
  application.stored.tokens = { ...before, access_token: 'expired-and-forgotten' };
  await whoami(client);
  const after = application.stored.tokens;
  check(grants.refresh_token > refreshed, 'the SDK did not refresh');
  check(after.access_token !== before.access_token && after.access_token !== 'expired-and-forgotten', 'no new access token');
  check(application.browser.visits === 1, `the browser was opened ${application.browser.visits} times`);
}

function form(url, fields) {
  return fetch(url, { method: 'POST', body: new URLSearchParams(fields) });
}

async function revokes(application) {
  const { client, tokens, discovery } = application.stored;
  const metadata = discovery.authorizationServerMetadata;
  check(metadata.revocation_endpoint, 'the metadata names no revocation endpoint');
  const token = tokens.refresh_token;
  const revoked = await form(metadata.revocation_endpoint, {
    token,
    token_type_hint: 'refresh_token',
    client_id: client.client_id,
  });
  check(revoked.status === 200, `revocation answered ${revoked.status}: ${await revoked.text()}`);
  const refused = await form(metadata.token_endpoint, {
    grant_type: 'refresh_token',
    refresh_token: token,
    client_id: client.client_id,
  });
  const error = await refused.json();
  check(refused.status === 400 && error.error === 'invalid_grant', `a revoked token got ${refused.status} ${error.error}`);
}

try {
  const application = new Application();
  const client = await signIn(application);
  const protocol = client.getNegotiatedProtocolVersion();
  const tools = (await client.listTools()).tools.map((tool) => tool.name);
  check(tools.includes('whoami'), `tools are ${tools}`);
  const identity = await whoami(client);
  await obeysGroups(client, identity);
  const progress = await streams(client);
  await refreshes(client, application);
  await revokes(application);
  await client.close();
  const { subject, bearer } = identity;
  console.log(JSON.stringify({ client: 'typescript', sdk: '2.4.0', protocol, subject, groups: identity.groups, credential: bearer.kind, progress, grants, browser_visits: application.browser.visits, revoked: true }));
  process.exit(0);
} catch (error) {
  console.error(`typescript client: ${error instanceof Failure ? error.message : (error.stack ?? error)}`);
  process.exit(1);
}
