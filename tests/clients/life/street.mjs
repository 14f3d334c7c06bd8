// The street that the lives of clients are played in: an OpenID provider, the demo MCP server behind a door that asks
// for scopes, Vestibule, and before it a front that writes down every request. Vestibule can be restarted alone.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const agent = new http.Agent({ keepAlive: false });

/** Tools that the door wants a scope for. */
const NEEDS = { admin_report: 'mcp:write' };

export class Street {
  #children = [];
  #vestibule;
  #requests = [];
  /** The tokens that went out last, and those before them, with whose they are. */
  tokens = {};
  #config = { keys: 'first', scopes: ['mcp:read', 'mcp:write'] };

  /** `documents`: metadata documents that this Vestibule knows without fetching them. */
  constructor({ vestibule, demo, work, documents = [] }) {
    Object.assign(this, { program: vestibule, demo, work, documents, logs: path.join(work, 'logs'), dir: path.join(work, 'street') });
  }

  async open() {
    rmSync(this.dir, { recursive: true, force: true });
    mkdirSync(path.join(this.dir, 'documents'), { recursive: true, mode: 0o700 });
    mkdirSync(this.logs, { recursive: true });
    this.front = await listening(http.createServer((request, response) => this.#forward(request, response)));
    this.publicUrl = `http://localhost:${this.front.address().port}`;
    this.mcpUrl = `${this.publicUrl}/mcp`;
    this.issuer = this.publicUrl;
    this.provider = await this.#child('street-provider', process.execPath, [path.join(this.work, 'oidc-provider/provider.mjs'), '0', `${this.publicUrl}/callback`]);
    this.upstream = await this.#child('street-upstream', this.demo, ['--jwks-url', `${this.publicUrl}/jwks.json`]);
    this.door = await listening(http.createServer((request, response) => this.#guardTools(request, response)));
    for (const keys of ['first', 'second']) await this.#run('keys', ['generate', '--out', path.join(this.dir, `${keys}.toml`)]);
    for (const document of this.documents) {
      const name = document.client_id.replace(/\W+/g, '-');
      writeFileSync(path.join(this.dir, 'documents', `${name}.json`), JSON.stringify(document));
    }
    await this.start();
    return this;
  }

  /** Restarts Vestibule; `keys: 'second'` makes every registration unknown, `scopes` changes what the resource has. */
  async restart(change = {}) {
    await this.stop();
    await this.start(change);
  }

  async stop() {
    const child = this.#vestibule;
    this.#vestibule = undefined;
    if (!child || child.exitCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    // Open streams may keep a drain waiting; this is a crash then.
    await Promise.race([gone, sleep(1500)]);
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await gone;
    }
  }

  async start(change = {}) {
    Object.assign(this.#config, change);
    const port = await freePort();
    const config = path.join(this.dir, 'vestibule.toml');
    writeFileSync(config, this.#toml(port), { mode: 0o600 });
    const log = openSync(path.join(this.logs, 'street-vestibule.log'), 'a');
    this.#vestibule = spawn(this.program, ['serve', '--config', config], { stdio: ['ignore', log, log] });
    this.port = port;
    for (let tries = 0; tries < 300; tries++) {
      if (this.#vestibule.exitCode !== null) throw new Error('vestibule ended; see street-vestibule.log');
      const up = await fetch(`http://127.0.0.1:${port}/healthz`).then((answer) => answer.ok, () => false);
      if (up) return;
      await sleep(50);
    }
    throw new Error('vestibule did not answer within 15 s');
  }

  /** Ends the grant of the tokens that went out last, as a person does at `/connections`. */
  async revoke() {
    const { refresh_token: token, client_id } = this.tokens.last;
    const answer = await fetch(`${this.publicUrl}/revoke`, { method: 'POST', body: new URLSearchParams({ token, client_id }) });
    if (!answer.ok) throw new Error(`/revoke answered ${answer.status}`);
  }

  /** What `/token` says to the refresh token: an error, or nothing. */
  async refreshes({ refresh_token, client_id }) {
    const form = new URLSearchParams({ grant_type: 'refresh_token', refresh_token, client_id });
    return (await (await fetch(`${this.publicUrl}/token`, { method: 'POST', body: form })).json()).error;
  }

  /** Forgets what has come in. */
  mark() {
    this.#requests = [];
  }

  /** What has come in since the last `mark`. */

  seen() {
    const of = (test) => this.#requests.filter(test);
    return {
      requests: this.#requests,
      registrations: of((it) => it.path === '/register' && it.method === 'POST').length,
      browser: of((it) => it.path === '/consent').length,
      codes: of((it) => it.grant === 'authorization_code' && it.status === 200).length,
      refreshes: of((it) => it.grant === 'refresh_token' && it.status === 200).length,
      refused: of((it) => it.grant && it.status !== 200).map((it) => `${it.status} ${it.error}`),
      revocations: of((it) => it.path === '/revoke' && it.status === 200).length,
      scopes: of((it) => it.path === '/authorize').map((it) => it.scope),
      clients: [...new Set(of((it) => it.path === '/authorize').map((it) => it.client))],
    };
  }

  async close() {
    await this.stop();
    for (const child of this.#children) child.kill('SIGTERM');
    for (const server of [this.front, this.door]) {
      server?.closeAllConnections();
      server?.close();
    }
  }

  #forward(request, response) {
    const url = new URL(request.url, this.publicUrl);
    const seen = { method: request.method, path: url.pathname, agent: request.headers['user-agent'] };
    if (url.pathname === '/authorize') Object.assign(seen, { scope: url.searchParams.get('scope'), client: url.searchParams.get('client_id') });
    this.#requests.push(seen);
    const body = [];
    const answers = url.pathname === '/token' || url.pathname === '/register';
    const onward = http.request({ host: '127.0.0.1', port: this.port, method: request.method, path: request.url, headers: request.headers, agent });
    onward.on('response', (answer) => {
      seen.status = answer.statusCode;
      response.writeHead(answer.statusCode, answer.headers);
      response.flushHeaders();
      if (answers) {
        const parts = [];
        answer.on('data', (part) => parts.push(part));
        answer.on('end', () => {
          try {
            const { error, refresh_token } = JSON.parse(Buffer.concat(parts).toString());
            seen.error = error;
            if (refresh_token) this.tokens = { before: this.tokens.last, last: { refresh_token, client_id: seen.tokenClient } };
          } catch {
            // not JSON: the status says enough
          }
        });
      }
      answer.on('error', () => response.destroy());
      answer.pipe(response);
    });
    onward.on('error', () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
    response.on('close', () => onward.destroy());
    if (url.pathname === '/token') request.on('data', (part) => body.push(part));
    request.on('end', () => {
      if (!body.length) return;
      const form = new URLSearchParams(Buffer.concat(body).toString());
      Object.assign(seen, { grant: form.get('grant_type'), tokenClient: form.get('client_id') });
    });
    request.pipe(onward);
  }

  /** The upstream's own rule: some tools want a scope of the token that Vestibule made. */
  #guardTools(request, response) {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
      const body = Buffer.concat(parts);
      const needed = NEEDS[toolOf(body)];
      const granted = scopesOf(request.headers.authorization);
      if (needed && !granted.includes(needed)) {
        const challenge = `Bearer error="insufficient_scope", scope="${needed}"`;
        response.writeHead(403, { 'www-authenticate': challenge, 'content-type': 'application/json' });
        response.end(JSON.stringify({ error: 'insufficient_scope' }));
        return;
      }
      const target = new URL(this.upstream.url);
      const headers = { ...request.headers, host: target.host };
      const onward = http.request({ host: target.hostname, port: target.port, method: request.method, path: request.url, headers, agent });
      onward.on('response', (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        response.flushHeaders();
        answer.on('error', () => response.destroy());
        answer.pipe(response);
      });
      onward.on('error', () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
      response.on('close', () => onward.destroy());
      onward.end(body);
    });
  }

  async #child(name, program, args) {
    const log = openSync(path.join(this.logs, `${name}.log`), 'a');
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', log] });
    this.#children.push(child);
    return JSON.parse(await firstLine(child));
  }

  async #run(...args) {
    const child = spawn(this.program, args.flat(), { stdio: 'ignore' });
    const [code] = await once(child, 'exit');
    if (code !== 0) throw new Error(`${args.flat().join(' ')} ended with ${code}`);
  }

  #toml(port) {
    const upstream = new URL(this.upstream.url);
    upstream.port = this.door.address().port;
    return `public_url = "${this.publicUrl}"

[server]
listen = ["127.0.0.1:${port}"]

[provider]
issuer = "${this.provider.issuer}"
client_id = "${this.provider.client_id}"
client_secret = "${this.provider.client_secret}"
scopes = ["openid", "email", "groups"]

[clients]
documents_dir = "${this.dir}/documents"

[[resource]]
path = "/mcp"
upstream = "${upstream.href}"
scopes = ${JSON.stringify(this.#config.scopes)}

[resource.credential]
type = "vestibule-token"
audience = "${this.upstream.url}"

[keys]
file = "${this.dir}/${this.#config.keys}.toml"
`;
  }
}

function toolOf(body) {
  try {
    const message = JSON.parse(body.toString());
    return message.method === 'tools/call' ? message.params.name : undefined;
  } catch {
    return undefined;
  }
}

function scopesOf(authorization = '') {
  const claims = authorization.split('.')[1];
  if (!claims) return [];
  return (JSON.parse(Buffer.from(claims, 'base64url').toString()).scope ?? '').split(' ');
}

async function firstLine(child) {
  let text = '';
  for await (const part of child.stdout) {
    text += part;
    if (text.includes('\n')) break;
  }
  if (!text) throw new Error('a server of the street ended');
  child.stdout.resume?.();
  return text.split('\n')[0];
}

async function listening(server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

/** A port that is free now, and stays it: connections that go out take theirs from another range. */
export async function ownPort() {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const server = http.createServer();
    server.listen(port, '127.0.0.1');
    const free = await once(server, 'listening').then(() => true, () => false);
    server.close();
    if (free) return port;
  }
}

async function freePort() {
  const server = await listening(http.createServer());
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
