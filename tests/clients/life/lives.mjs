// Plays the life of every client that can be installed before one Vestibule, and writes what happened as a table.
//
//   lives.mjs WORK VESTIBULE DEMO RUST [CLIENT…]
//
// WORK has the packages; RUST is the driver of the Rust SDK, rmcp/life.rs. The table goes to WORK/lives.md. Exits with 1 if a client that must do a thing did not.
import { writeFileSync } from 'node:fs';
import path from 'node:path';

import { Inspector, McpRemote, Obedient, environment } from './processes.mjs';
import { Street, ownPort } from './street.mjs';

const [work, vestibule, demo, rust, ...only] = process.argv.slice(2);
const DOCUMENTS = 'https://client.example/';
const CALLBACK = 'http://localhost/callback';
const slug = ({ name }) => name.replace(/\W+/g, '-').toLowerCase();

class Failure extends Error {}

function check(condition, message) {
  if (!condition) throw new Failure(message);
}

const node = (file) => (name, options) => obedient(name, process.execPath, path.join(work, file), options);
const program = (file) => (name, options) => obedient(name, file, undefined, options);
const python = (file) => (name, options) => obedient(name, path.join(work, 'venv/bin/python'), path.join(work, 'python', file), options);

function obedient(name, program, script, { street, redirect, document, env }) {
  const args = [...(script ? [script] : []), street.mcpUrl, redirect, ...(document ? [document] : [])];
  return new Obedient({ work, name, program, args, env });
}

/** `port`: where the answers of its browser go; `document`: it can be told to use a metadata document. */
const CLIENTS = [
  { name: 'TypeScript SDK 2.4.0, 2026-07-28', open: node('typescript/life.mjs'), document: true },
  { name: 'TypeScript SDK 2.4.0, 2025-11-25', open: node('typescript/life.mjs'), document: true, env: { PROTOCOL: 'legacy' } },
  { name: 'TypeScript SDK 1.32.2', open: node('typescript-v1/life.mjs'), document: true },
  { name: 'Python SDK 2.3.0', open: python('life.py'), document: true },
  { name: 'FastMCP 4.1.2', open: python('fastmcp_life.py'), document: true },
  { name: 'Rust SDK (rmcp) 3.9.0', open: program(rust), document: true },
  { name: 'mcp-remote 0.15.1', open: (_, { street, document, env, port }) => new McpRemote({ work, mcpUrl: street.mcpUrl, document, env, port }), document: true, callback: 'http://localhost/oauth/callback' },
  { name: 'Inspector CLI 2.12.0', open: (_, { street, redirect, document, env }) => new Inspector({ work, mcpUrl: street.mcpUrl, redirect, document, env }), document: true, callback: 'http://localhost/oauth/callback' },
];

/** The columns of the table. Each step gets the client and the street; what it returns stands in the cell. */
const STEPS = {
  'first sign-in': async ({ client, street }) => {
    await client.connect();
    const seen = street.seen();
    check(seen.registrations >= 1 && seen.codes === 1, `${seen.registrations} registrations, ${seen.codes} codes`);
  },
  'tool call': async ({ client }) => whoami(client),
  streaming: async ({ client }) => {
    const { notifications, spread } = await client.stream(5, 150);
    if (notifications === undefined) return 'result only';
    check(notifications >= 3, `${notifications} of 5 notifications`);
    check(spread >= (notifications - 1) * 75, `in a lump: ${Math.round(spread)} ms`);
  },
  'expiry, refresh': async ({ client, street }) => {
    await client.expire();
    await whoami(client);
    silent(street);
  },
  'restart of Vestibule': async ({ client, street }) => {
    await street.restart();
    await client.connect();
    await whoami(client);
    await client.expire();
    await whoami(client);
    silent(street);
  },
  'second sign-in': async ({ client, street }) => {
    await client.forget();
    await client.connect();
    await whoami(client);
    const seen = street.seen();
    check(seen.codes === 1, `${seen.codes} codes`);
    if (seen.registrations > 0) return 'registers again';
  },
  'sign-out revokes': async ({ client, street }) => {
    if (!client.signOut) return '–';
    await client.signOut();
    // Inspector would, but does not find the endpoint in what it keeps of the metadata.
    if (street.seen().revocations === 0) return 'forgets only';
    check((await street.refreshes(street.tokens.before)) === 'invalid_grant', 'what was signed out of goes on');
    await whoami(client);
  },
  'revoked elsewhere': async ({ client, street }) => {
    await street.revoke();
    street.mark();
    const outcome = await client.call('whoami').then(() => undefined, (error) => error);
    const { requests, codes, refreshes } = street.seen();
    check(requests.length < 60, `a loop: ${requests.length} requests`);
    check(refreshes === 0, 'what was revoked goes on');
    if (!outcome) {
      check(codes === 1, `${codes} codes`);
      return 'new sign-in';
    }
    // It says so; whoever uses it signs in again.
    await client.forget();
    await client.connect();
    await whoami(client);
    return 'error';
  },
  'new scope (403)': async ({ client, street }) => {
    await client.forget();
    await street.restart({ scopes: ['mcp:read'] });
    await client.connect();
    await whoami(client);
    await street.restart({ scopes: ['mcp:read', 'mcp:write'] });
    // In the middle of the session: at a new start some would see the new scope in the metadata.
    street.mark();
    const outcome = await client.call('admin_report').then(() => undefined, (error) => error);
    const seen = street.seen();
    check(seen.requests.length < 60, `a loop: ${seen.requests.length} requests`);
    if (outcome && seen.codes === 0) return 'error, no loop';
    check(!outcome, outcome?.message);
    const asked = (seen.scopes.at(-1) ?? '').split(' ');
    check(asked.includes('mcp:read') && asked.includes('mcp:write'), `asked for ${asked}`);
    return 'new consent';
  },
  'unknown client': async ({ open, street }) => {
    const client = open('unknown');
    try {
      await client.connect();
      street.mark();
      await street.restart({ keys: 'second' });
      await client.connect();
      await whoami(client);
      const seen = street.seen();
      check(seen.registrations >= 1 && seen.codes === 1, `${seen.registrations} registrations, ${seen.codes} codes`);
      return 'registers again';
    } finally {
      await client.end();
      await street.restart({ keys: 'first' });
    }
  },
  'metadata document': async ({ open, definition, street }) => {
    if (!definition.document) return '–';
    const client = open('document');
    try {
      street.mark();
      await client.connect();
      await whoami(client);
      await client.expire();
      await whoami(client);
      const seen = street.seen();
      check(seen.registrations === 0 && seen.codes === 1 && seen.refreshes >= 1, `${seen.registrations} registrations, ${seen.refreshes} refreshes`);
      check(seen.clients.every((id) => id.startsWith(DOCUMENTS)), `${seen.clients}`);
    } finally {
      await client.end();
    }
  },
};

async function whoami(client) {
  const identity = await client.call('whoami');
  check(identity?.subject, `no subject in ${JSON.stringify(identity)}`);
}

/** There was a refresh, and nobody had to do anything. */
function silent(street) {
  const { refreshes, registrations, browser } = street.seen();
  check(refreshes >= 1, 'no refresh');
  check(registrations === 0 && browser === 0, `${registrations} registrations, ${browser} sign-ins`);
}

async function life(street, definition) {
  const callback = definition.callback ?? CALLBACK;
  const ports = { first: await ownPort(), unknown: await ownPort(), document: await ownPort() };
  const open = (kind) => {
    const port = ports[kind];
    const name = `${slug(definition)}-${kind}`;
    const redirect = callback.replace('localhost', `localhost:${port}`);
    const document = kind === 'document' ? `${DOCUMENTS}${slug(definition)}` : undefined;
    return definition.open(name, { street, redirect, document, port, env: environment(work, name, definition.env) });
  };
  const client = open('first');
  const cells = {};
  for (const [step, play] of Object.entries(STEPS)) {
    street.mark();
    const started = performance.now();
    try {
      cells[step] = (await play({ client, open, definition, street })) ?? 'yes';
    } catch (error) {
      cells[step] = 'no';
      const why = error instanceof Failure ? error.message : String(error.message ?? error);
      console.log(`     ${definition.name}, ${step}: ${why}`);
      if (process.env.VERBOSE) console.log(street.seen());
    }
    if (process.env.VERBOSE) console.log(`     ${step}: ${cells[step]} in ${Math.round(performance.now() - started)} ms`);
  }
  await client.end();
  return cells;
}

/** The document of a client. Its redirect URI has no port: any will do. */
const document = (definition) => ({
  client_id: `${DOCUMENTS}${slug(definition)}`,
  client_name: definition.name,
  redirect_uris: [definition.callback ?? CALLBACK],
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  token_endpoint_auth_method: 'none',
});

const street = new Street({ vestibule, demo, work, documents: CLIENTS.map(document) });
const rows = [];
try {
  await street.open();
  for (const definition of CLIENTS) {
    if (only.length && !only.some((word) => definition.name.toLowerCase().includes(word.toLowerCase()))) continue;
    const started = performance.now();
    const cells = await life(street, definition);
    rows.push(`| ${definition.name} | ${Object.keys(STEPS).map((step) => cells[step]).join(' | ')} |`);
    console.log(`     ${rows.at(-1)} ${Math.round((performance.now() - started) / 1000)} s`);
  }
} finally {
  await street.close();
}
const names = Object.keys(STEPS);
const table = [`| client | ${names.join(' | ')} |`, `|---|${names.map(() => '---|').join('')}`, ...rows, ''].join('\n');
writeFileSync(path.join(work, 'lives.md'), table);
process.exit(0);
