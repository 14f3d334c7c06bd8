// The authorization-server leg of the official conformance suite, once for each protocol revision that it knows.
//
//   authorization.mjs MCP_URL USERNAME PASSWORD
//
// The suite prints where to sign in; our browser does. Exits with 1 unless every scenario passed for every revision.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { FakeBrowser } from '../fake_browser.mjs';

const REVISIONS = ['2025-03-26', '2025-06-18', '2025-11-25', '2026-07-28'];
/** A revision that has fewer scenarios shown passed than this has not been tested. */
const LEAST = 2;

const [mcpUrl, username, password] = process.argv.slice(2);
const here = path.dirname(fileURLToPath(import.meta.url));
const issuer = new URL(mcpUrl).origin;
const suite = path.join(here, 'node_modules/@modelcontextprotocol/conformance/dist/index.js');

async function freePort() {
  const server = http.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}

async function leg(revision) {
  const port = await freePort();
  const redirect = `http://127.0.0.1:${port}/callback`;
  const registration = await fetch(`${issuer}/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ client_name: 'Conformance suite', redirect_uris: [redirect] }),
  });
  const { client_id } = await registration.json();
  const args = [suite, 'authorization', '--url', issuer, '--client-id', client_id, '-p', String(port), '--spec-version', revision];
  const child = spawn(process.execPath, args, { cwd: here, stdio: ['ignore', 'pipe', 'pipe'] });
  const timer = setTimeout(() => child.kill('SIGKILL'), 40_000);
  let output = '';
  let visited = false;
  const listen = (part) => {
    output += part;
    const url = /https?:\/\/\S+\/authorize\?\S+/.exec(output);
    if (!url || visited || !/\s$/.test(output)) return;
    visited = true;
    new FakeBrowser({ username, password })
      .visit(url[0], redirect)
      .then((answer) => fetch(answer))
      .catch((error) => (output += `\nbrowser: ${error.message}\n`));
  };
  child.stdout.on('data', listen);
  child.stderr.on('data', listen);
  const [code] = await once(child, 'close');
  clearTimeout(timer);
  const passed = (output.match(/^\s*[✓✔]/gmu) ?? []).length;
  const failed = (output.match(/^\s*[✗✘×]/gmu) ?? []).length;
  if (code !== 0 || passed < LEAST || failed > 0 || !visited) {
    console.error(`conformance ${revision}: ended with ${code}, ${passed} passed, ${failed} failed\n${output}`);
    return false;
  }
  console.log(`     conformance, authorization server, ${revision}: ${passed} scenarios passed`);
  return true;
}

let good = true;
for (const revision of REVISIONS) good = (await leg(revision)) && good;
process.exit(good ? 0 : 1);
