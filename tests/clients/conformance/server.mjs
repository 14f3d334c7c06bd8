// The server leg of the official conformance suite twice: at the MCP server itself, and through Vestibule with a token.
//
//   server.mjs MCP_URL UPSTREAM_URL USERNAME PASSWORD
//
// The demo server has not all that the suite asks a server for; what counts is that both runs give the same list.
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { FakeBrowser } from '../fake_browser.mjs';

const REVISIONS = ['2025-11-25', '2026-07-28'];
/** Fewer lines than this are no run of the suite. */
const LEAST = 20;

const [mcpUrl, upstreamUrl, username, password] = process.argv.slice(2);
const here = path.dirname(fileURLToPath(import.meta.url));
const suite = path.join(here, 'node_modules/@modelcontextprotocol/conformance/dist/index.js');

async function signIn() {
  const { origin } = new URL(mcpUrl);
  const redirect_uri = 'http://127.0.0.1:1/callback'; // nobody listens: the browser stops before
  const registration = await fetch(`${origin}/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ client_name: 'Conformance suite', redirect_uris: [redirect_uri] }),
  });
  const { client_id } = await registration.json();
  const code_verifier = randomBytes(32).toString('base64url');
  const url = new URL(`${origin}/authorize`);
  url.search = new URLSearchParams({
    response_type: 'code',
    client_id,
    redirect_uri,
    code_challenge: createHash('sha256').update(code_verifier).digest('base64url'),
    code_challenge_method: 'S256',
    resource: mcpUrl,
  }).toString();
  const answer = new URL(await new FakeBrowser({ username, password }).visit(url.href, redirect_uri));
  const token = await fetch(`${origin}/token`, {
    method: 'POST',
    body: new URLSearchParams({ grant_type: 'authorization_code', client_id, redirect_uri, code_verifier, code: answer.searchParams.get('code') }),
  });
  const { access_token } = await token.json();
  if (!access_token) throw new Error(`no token: ${token.status}`);
  return access_token;
}

/** The suite has no way to send a token: this adds one, and changes nothing else. */
async function withToken(token) {
  const target = new URL(mcpUrl);
  const server = http.createServer((request, response) => {
    const headers = { ...request.headers, authorization: `Bearer ${token}` };
    const onward = http.request({ host: target.hostname, port: target.port, method: request.method, path: request.url, headers, agent: false });
    onward.on('response', (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      response.flushHeaders();
      answer.on('error', () => response.destroy());
      answer.pipe(response);
    });
    onward.on('error', () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
    response.on('close', () => onward.destroy());
    request.pipe(onward);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, url: `http://127.0.0.1:${server.address().port}${target.pathname}` };
}

/** The list of results: one line for each scenario. */
async function run(url, revision) {
  const args = [suite, 'server', '--url', url, '--requirements', revision];
  const child = spawn(process.execPath, args, { cwd: here, stdio: ['ignore', 'pipe', 'pipe'] });
  const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
  let output = '';
  child.stdout.on('data', (part) => (output += part));
  child.stderr.on('data', (part) => (output += part));
  await once(child, 'close');
  clearTimeout(timer);
  const summary = output.split('=== SUMMARY ===')[1] ?? '';
  const lines = summary.split('\n').filter((line) => /[✓✗]/u.test(line));
  if (lines.length < LEAST) throw new Error(`the suite ran ${lines.length} scenarios at ${url}:\n${output.slice(-3000)}`);
  return lines;
}

const { server, url } = await withToken(await signIn());
let good = true;
for (const revision of REVISIONS) {
  const [direct, through] = [await run(upstreamUrl, revision), await run(url, revision)];
  const passed = through.filter((line) => line.includes('✓')).length;
  const missing = direct.filter((line) => !through.includes(line)).map((line) => `- ${line}`);
  const added = through.filter((line) => !direct.includes(line)).map((line) => `+ ${line}`);
  if (missing.length + added.length > 0) {
    good = false;
    console.error(`conformance ${revision}: through Vestibule the results are others:\n${[...missing, ...added].join('\n')}`);
  } else {
    console.log(`     conformance, server, ${revision}: ${through.length} results, ${passed} of them passed, the same through Vestibule as without`);
  }
}
server.closeAllConnections();
server.close();
process.exit(good ? 0 : 1);
