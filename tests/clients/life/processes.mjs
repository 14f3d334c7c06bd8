// Clients as lives.mjs sees them: drivers that take orders, and programs that are what they are (mcp-remote, Inspector).
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, openSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';

const PATIENCE = 25_000;

/** The environment of every client: whose browser, and nothing of the home directory of who runs this. */
export function environment(work, name, more = {}) {
  const home = path.join(work, 'homes', name);
  rmSync(home, { recursive: true, force: true });
  mkdirSync(home, { recursive: true });
  return {
    PATH: `${path.join(work, 'bin')}:${process.env.PATH}`,
    HOME: home,
    BROWSER: path.join(work, 'bin/xdg-open'),
    BROWSE_USER: 'ada',
    BROWSE_PASSWORD: 'any-password',
    BROWSE_LOG: path.join(work, 'logs', `life-${name}-browser.log`),
    PYTHONDONTWRITEBYTECODE: '1',
    ...more,
  };
}

/** A driver that obeys orders; see orders.mjs. */
export class Obedient {
  constructor({ work, name, program, args, env }) {
    const log = openSync(path.join(work, 'logs', `life-${name}.log`), 'a');
    this.child = spawn(program, args, { env, stdio: ['pipe', 'pipe', log] });
    this.child.stdin.on('error', () => {});
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  async #order(what, more = {}) {
    this.child.stdin.write(`${JSON.stringify({ do: what, ...more })}\n`);
    const { value, done } = await within(this.lines.next(), `the answer to ${what}`);
    if (done) throw new Error('the driver ended');
    const answer = JSON.parse(value);
    if (!answer.ok) throw new Error(answer.error);
    return answer.value;
  }

  connect = () => this.#order('connect');
  call = (tool) => this.#order('call', { tool });
  stream = (from, interval) => this.#order('stream', { from, interval });
  expire = () => this.#order('expire');
  forget = () => this.#order('forget');

  async end() {
    await this.#order('close').catch(() => {});
    this.child.stdin.end();
    await ended(this.child);
  }
}

/** mcp-remote: JSON-RPC on its stdin, credentials in files. */
export class McpRemote {
  #waiting = new Map();
  #next = 1;

  constructor({ work, mcpUrl, document, env, port }) {
    Object.assign(this, { work, mcpUrl, env, home: env.HOME });
    this.args = [path.join(work, 'mcp-remote/node_modules/mcp-remote/dist/proxy.js'), mcpUrl, String(port), '--transport', 'http-only', '--auth-timeout', '20'];
    if (document) this.args.push('--client-metadata-url', document);
  }

  async connect() {
    await this.end();
    const log = openSync(path.join(this.work, 'logs/life-mcp-remote.log'), 'a');
    this.child = spawn(process.execPath, this.args, { env: { ...this.env, MCP_REMOTE_CONFIG_DIR: this.home }, stdio: ['pipe', 'pipe', log] });
    this.child.stdin.on('error', () => {});
    this.child.on('exit', () => {
      for (const [, { refuse }] of this.#waiting) refuse(new Error('mcp-remote ended'));
      this.#waiting.clear();
    });
    createInterface({ input: this.child.stdout }).on('line', (line) => this.#heard(JSON.parse(line)));
    await this.#ask('initialize', { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'life', version: '0' } });
    this.#tell({ method: 'notifications/initialized' });
  }

  async call(tool) {
    const answer = await this.#ask('tools/call', { name: tool, arguments: {} });
    if (answer.isError) throw new Error(JSON.stringify(answer.content));
    return answer.structuredContent ?? answer.content;
  }

  async stream(from, interval) {
    this.times = [];
    const params = { name: 'countdown', arguments: { from, interval_ms: interval }, _meta: { progressToken: 'p' } };
    await this.#ask('tools/call', params);
    return { notifications: this.times.length, spread: this.times.length ? this.times.at(-1) - this.times[0] : 0 };
  }

  expire() {
    this.#edit('_tokens.json', (tokens) => ({ ...tokens, access_token: 'expired' }));
  }

  async forget() {
    // Alive, it would sign in again on its own.
    await this.end();
    this.#edit('_tokens.json', () => undefined);
  }

  async end() {
    const child = this.child;
    this.child = undefined;
    if (!child) return;
    child.stdin.end();
    await ended(child);
  }

  #tell(message) {
    this.child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`);
  }

  #ask(method, params) {
    const id = this.#next++;
    const answered = new Promise((fulfil, refuse) => this.#waiting.set(id, { fulfil, refuse }));
    this.#tell({ id, method, params });
    return within(answered, method);
  }

  #heard(message) {
    if (message.method === 'notifications/progress') this.times?.push(performance.now());
    const waiting = message.id !== undefined && this.#waiting.get(message.id);
    if (!waiting || message.method) return;
    this.#waiting.delete(message.id);
    if (message.error) waiting.refuse(new Error(message.error.message));
    else waiting.fulfil(message.result);
  }

  #edit(suffix, change) {
    edit(this.home, (name) => name.endsWith(suffix), change);
  }
}

/** Inspector's command line: one process for each request. */
export class Inspector {
  constructor({ work, mcpUrl, redirect, document, env }) {
    Object.assign(this, { work, mcpUrl, home: env.HOME });
    this.identity = ['--callback-url', redirect, ...(document ? ['--client-metadata-url', document] : [])];
    this.env = { ...env, MCP_AUTO_OPEN_ENABLED: 'true', MCP_INSPECTOR_SECRET_STORE: 'file', MCP_STORAGE_DIR: path.join(env.HOME, 'storage') };
  }

  connect = () => this.#run(['--method', 'tools/list']);

  async call(tool) {
    const answer = JSON.parse(await this.#run(['--method', 'tools/call', '--tool-name', tool]));
    if (answer.isError) throw new Error(JSON.stringify(answer.content));
    return answer.structuredContent ?? answer.content;
  }

  async stream(from, interval) {
    await this.#run(['--method', 'tools/call', '--tool-name', 'countdown', '--tool-arg', `from=${from}`, `interval_ms=${interval}`]);
    return { notifications: undefined };
  }

  expire() {
    this.#tokens((tokens) => JSON.stringify({ ...JSON.parse(tokens), access_token: 'expired' }));
  }

  forget() {
    this.#tokens(() => undefined);
  }

  /** Its way out is the way in again: it revokes what it had. */
  signOut = () => this.#run(['--relogin', '--method', 'tools/list']);

  /** They are text in a file of secrets. */
  #tokens(change) {
    edit(this.home, (name) => name.endsWith('secrets.json'), (file) => {
      for (const name of Object.keys(file.secrets)) {
        if (name.includes(':tokens:')) file.secrets[name] = change(file.secrets[name]);
      }
      return file;
    });
  }

  async end() {}

  async #run(args) {
    const cli = path.join(this.work, 'inspector/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js');
    const child = spawn(process.execPath, [cli, '--cli', this.mcpUrl, ...this.identity, ...args], { env: this.env, stdio: ['ignore', 'pipe', 'pipe'] });
    const [out, errors] = [text(child.stdout), text(child.stderr)];
    const [code] = await within(once(child, 'exit'), args.join(' ')).catch((error) => {
      child.kill('SIGKILL');
      throw error;
    });
    writeFileSync(path.join(this.work, 'logs/life-inspector.log'), `${args.join(' ')}\n${await errors}\n`, { flag: 'a' });
    if (code !== 0) throw new Error((await errors).trim().split('\n').at(-1) || `ended with ${code}`);
    return out;
  }
}

/** Asks a process to end, and makes it. */
async function ended(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 2000);
  await gone;
  clearTimeout(timer);
}

async function text(stream) {
  let all = '';
  for await (const part of stream) all += part;
  return all;
}

/** Changes every JSON file below `directory` whose name fits. */
function edit(directory, fits, change) {
  for (const name of readdirSync(directory, { recursive: true })) {
    if (!fits(name)) continue;
    const file = path.join(directory, name);
    const changed = change(JSON.parse(readFileSync(file, 'utf8')));
    if (changed === undefined) rmSync(file);
    else writeFileSync(file, JSON.stringify(changed));
  }
}

async function within(promise, what) {
  let timer;
  const late = new Promise((_, refuse) => {
    timer = setTimeout(() => refuse(new Error(`${what} took more than ${PATIENCE / 1000} s`)), PATIENCE);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
