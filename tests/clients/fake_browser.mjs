// A browser without a screen: keeps cookies, follows redirects by hand, submits the first form of each page.
// It keeps the rules of real browsers that a sign-in depends on: cookie prefixes, Secure, SameSite, Path, the Origin
// header as the page's Referrer-Policy leaves it, Sec-Fetch-Site over a chain of redirects, and CSP form-action.
import http from 'node:http';
import https from 'node:https';

const MAX_HOPS = 30;
const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]']);

export class BrowserError extends Error {}

export class FakeBrowser {
  /** Top-level visits: how often an application opened this browser. */
  visits = 0;
  #cookies = [];
  #passwords = 0;
  #username;
  #password;
  #log;
  #request;

  /** `request` fetches one page, as the function below does: for other ways than HTTP/1.1. */
  constructor({ username, password, log = () => {}, request = overHttp1 }) {
    this.#username = username;
    this.#password = password;
    this.#log = log;
    this.#request = request;
  }

  /** Opens `url` and goes on until the browser is sent to `callback`. Returns that whole URL. */
  async visit(url, callback) {
    this.visits += 1;
    this.#passwords = 0;
    const until = new URL(callback);
    // `from` is the page whose form started this navigation; undefined: the address bar.
    let step = { url: new URL(url), method: 'GET', body: undefined, from: undefined, crossed: false };
    for (let hop = 0; hop < MAX_HOPS; hop++) {
      const page = await this.#load(step);
      if (page.location) {
        const next = new URL(page.location, step.url);
        if (next.host === until.host && next.pathname === until.pathname && next.protocol === until.protocol) {
          return next.href;
        }
        const keeps = page.status === 307 || page.status === 308;
        step = {
          url: next,
          method: keeps ? step.method : 'GET',
          body: keeps ? step.body : undefined,
          from: step.from,
          crossed: step.crossed || (step.from && step.url.origin !== step.from.url.origin),
        };
      } else {
        step = this.#submit(page);
      }
    }
    throw new BrowserError(`no end after ${MAX_HOPS} pages, last ${bare(step.url)}`);
  }

  async #load(step) {
    const { url, method, body, from } = step;
    if (!['http:', 'https:'].includes(url.protocol) || !LOOPBACK.has(url.hostname)) {
      throw new BrowserError(`this browser only visits the loopback, not ${bare(url)}`);
    }
    if (from) allowForm(from, url);
    const headers = {
      host: url.host,
      'user-agent': 'FakeBrowser/1.0',
      accept: 'text/html,application/xhtml+xml;q=0.9,*/*;q=0.8',
      'upgrade-insecure-requests': '1',
      'sec-fetch-mode': 'navigate',
      'sec-fetch-dest': 'document',
      'sec-fetch-user': '?1',
      'sec-fetch-site': fetchSite(step),
    };
    const cookies = this.#matching(url, method, from);
    if (cookies) headers.cookie = cookies;
    if (from && from.policy !== 'no-referrer') headers.referer = `${from.url.origin}/`;
    if (method === 'POST') {
      headers['content-type'] = 'application/x-www-form-urlencoded';
      headers['content-length'] = Buffer.byteLength(body);
      headers.origin = origin(step);
    }
    const page = await this.#request(url, method, headers, body);
    for (const line of page.headers['set-cookie'] ?? []) this.#keep(line, url);
    this.#log(`${method} ${bare(url)} ${page.status}`);
    const location = page.status >= 300 && page.status < 400 ? page.headers.location : undefined;
    return {
      url,
      location,
      status: page.status,
      text: page.text,
      policy: page.headers['referrer-policy'] ?? 'strict-origin-when-cross-origin',
      formAction: /(?:^|;)\s*form-action\s+([^;]*)/i.exec(page.headers['content-security-policy'] ?? '')?.[1],
    };
  }

  #submit(page) {
    const form = /<form\b([^>]*)>([\s\S]*?)<\/form>/i.exec(page.text);
    if (!form) {
      const text = page.text.replace(/<style[\s\S]*?<\/style>/gi, '').replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ');
      throw new BrowserError(`stuck at ${bare(page.url)}: HTTP ${page.status}, no form: ${text.trim().slice(0, 500)}`);
    }
    const attributes = attributesOf(form[1]);
    const fields = new URLSearchParams();
    let submit;
    let asksPassword = false;
    for (const [, tag, text] of form[2].matchAll(/<(input|button)\b([^>]*)>/gi)) {
      const field = attributesOf(text);
      const type = (field.type ?? (tag.toLowerCase() === 'button' ? 'submit' : 'text')).toLowerCase();
      asksPassword ||= type === 'password';
      if (type === 'submit' || type === 'image') {
        if (!submit) {
          submit = field;
          if (field.name) fields.append(field.name, field.value ?? '');
        }
      } else if (field.name && type !== 'button' && type !== 'reset') {
        if ((type === 'checkbox' || type === 'radio') && !('checked' in field)) continue;
        fields.append(field.name, this.#value(field, type));
      }
    }
    if (asksPassword && ++this.#passwords > 1) throw new BrowserError(`${bare(page.url)} refused the password`);
    const action = new URL(submit?.formaction ?? attributes.action ?? page.url.href, page.url);
    const method = (submit?.formmethod ?? attributes.method ?? 'GET').toUpperCase();
    if (method === 'GET') action.search = fields.toString();
    return { url: action, method, body: method === 'POST' ? fields.toString() : undefined, from: page, crossed: false };
  }

  #value(field, type) {
    if (type === 'hidden') return field.value ?? '';
    if (type === 'password') return this.#password;
    if (['username', 'login', 'email'].includes(field.name)) return this.#username;
    return field.value ?? '';
  }

  #keep(line, url) {
    const [pair, ...rest] = line.split(';').map((part) => part.trim());
    const at = pair.indexOf('=');
    const cookie = { name: pair.slice(0, at), value: pair.slice(at + 1), host: url.hostname, path: '/', sameSite: 'lax' };
    const given = new Set();
    for (const part of rest) {
      const [name, value = ''] = part.split('=');
      given.add(name.toLowerCase());
      if (name.toLowerCase() === 'path' && value.startsWith('/')) cookie.path = value;
      if (name.toLowerCase() === 'samesite') cookie.sameSite = value.toLowerCase();
      if (name.toLowerCase() === 'max-age') cookie.ends = Date.now() + Number(value) * 1000;
      if (name.toLowerCase() === 'expires' && cookie.ends === undefined) cookie.ends = Date.parse(value);
    }
    if (given.has('domain')) throw new BrowserError(`cookie ${cookie.name} of ${bare(url)} sets a Domain`);
    if (cookie.name.startsWith('__Host-') && !(given.has('secure') && given.has('path') && cookie.path === '/')) {
      throw new BrowserError(`browsers refuse the cookie ${cookie.name}: __Host- needs Secure and Path=/`);
    }
    if (cookie.sameSite === 'none' && !given.has('secure')) {
      throw new BrowserError(`browsers refuse the cookie ${cookie.name}: SameSite=None needs Secure`);
    }
    this.#cookies = this.#cookies.filter(
      (old) => !(old.name === cookie.name && old.host === cookie.host && old.path === cookie.path),
    );
    if (cookie.ends === undefined || cookie.ends > Date.now()) this.#cookies.push(cookie);
  }

  // All loopback hosts count as trustworthy, so Secure cookies travel; ports do not part sites, host names do.
  #matching(url, method, from) {
    const sameSite = !from || from.url.hostname === url.hostname;
    return this.#cookies
      .filter((cookie) => cookie.host === url.hostname)
      .filter((cookie) => cookie.ends === undefined || cookie.ends > Date.now())
      .filter(({ path }) => url.pathname === path || url.pathname.startsWith(path.endsWith('/') ? path : `${path}/`))
      .filter((cookie) => sameSite || cookie.sameSite === 'none' || (cookie.sameSite === 'lax' && method === 'GET'))
      .map((cookie) => `${cookie.name}=${cookie.value}`)
      .join('; ');
  }
}

export function overHttp1(url, method, headers, body) {
  return new Promise((resolve, reject) => {
    const sent = (url.protocol === 'https:' ? https : http).request(url, { method, headers, agent: false, timeout: 30_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => (text += chunk));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
      response.on('error', reject);
    });
    sent.on('timeout', () => sent.destroy(new BrowserError(`no answer from ${bare(url)} in 30 s`)));
    sent.on('error', reject);
    sent.end(body);
  });
}

// Fetch metadata: `none` from the address bar; one foreign origin in the chain and it is no longer same-origin.
function fetchSite({ url, from, crossed }) {
  if (!from) return 'none';
  if (from.url.hostname !== url.hostname) return 'cross-site';
  return from.url.origin === url.origin && !crossed ? 'same-origin' : 'same-site';
}

// Fetch, "append a request Origin header": a page that sends no referrer posts with Origin: null.
function origin({ url, from, crossed }) {
  if (from.policy === 'no-referrer' || crossed) return 'null';
  if (from.policy === 'same-origin' && from.url.origin !== url.origin) return 'null';
  return from.url.origin;
}

// Chromium applies form-action to every redirect that follows the form.
function allowForm(page, url) {
  if (page.formAction === undefined) return;
  const allowed = page.formAction.trim().split(/\s+/);
  const self = allowed.includes("'self'") && page.url.origin === url.origin;
  if (!self && !allowed.includes(url.origin) && !allowed.includes(url.protocol)) {
    throw new BrowserError(`CSP form-action of ${bare(page.url)} forbids to go on to ${bare(url)}`);
  }
}

function attributesOf(text) {
  const found = {};
  for (const [, name, double, single, plain] of text.matchAll(/([\w:-]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?/g)) {
    found[name.toLowerCase()] = decode(double ?? single ?? plain ?? '');
  }
  return found;
}

function decode(text) {
  const named = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
  return text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (whole, hex, decimal, name) => {
    if (hex) return String.fromCodePoint(Number.parseInt(hex, 16));
    if (decimal) return String.fromCodePoint(Number(decimal));
    return named[name.toLowerCase()] ?? whole;
  });
}

/** An address without its query: queries hold states and codes. */
function bare(url) {
  return `${url.origin}${url.pathname}`;
}
