// What the browser tests stand on: Chromium, a client that registers and waits on the loopback, and the steps of a sign-in.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import { chromium } from 'playwright-core';

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** No sign-in takes longer; a page that hangs is a failure. */
const PATIENCE = 10_000;

export const launch = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    chromiumSandbox: false,
    args: [
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      // Nothing leaves this computer, whatever a page or the browser itself wants.
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE *.localhost, EXCLUDE 127.0.0.1',
    ],
  });

/** A fresh profile. Every violation of a content security policy, and every script error, ends up in `complaints`. */
export async function profile(browser, options = {}) {
  const context = await browser.newContext({ locale: 'en-GB', ...options });
  context.setDefaultTimeout(PATIENCE);
  const complaints = [];
  context.on('console', (message) => {
    const text = message.text();
    if (/content security policy|CSP|violat|refused to/i.test(text)) complaints.push(text);
  });
  context.on('weberror', (error) => complaints.push(String(error.error())));
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`CSP violation: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
    });
  });
  return { context, complaints, page: await context.newPage() };
}

/** A client as it waits for its answer: a web server on a port of the loopback that is not the registered one. */
export async function listener() {
  const answers = [];
  const waiting = [];
  const server = http.createServer((request, response) => {
    response.setHeader('content-type', 'text/html');
    const target = new URL(request.url, 'http://127.0.0.1').searchParams.get('link');
    if (target !== null) {
      const link = target.replaceAll('&', '&amp;').replaceAll('"', '&quot;');
      response.end(`<!doctype html><html lang="en"><title>Portal</title><a href="${link}">Connect</a></html>`);
      return;
    }
    response.end('<!doctype html><html lang="en"><title>Client</title><h1>The client has it</h1></html>');
    const url = new URL(request.url, 'http://127.0.0.1');
    if (url.pathname !== '/callback') return;
    answers.push(url.searchParams);
    for (const wake of waiting.splice(0)) wake();
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  return {
    answers,
    redirectUri: `http://127.0.0.1:${server.address().port}/callback`,
    /** A page of a host on this computer with a link to `url`. */
    linking: (host, url) => `http://${host}:${server.address().port}/?link=${encodeURIComponent(url)}`,
    /** Resolves when there are `count` answers. */
    async received(count) {
      const deadline = Date.now() + PATIENCE;
      while (answers.length < count && Date.now() < deadline) {
        await Promise.race([new Promise((wake) => waiting.push(wake)), sleep(deadline - Date.now(), null, { ref: false })]);
      }
      assert.equal(answers.length, count, 'answers at the client');
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** Registers a client and gives the URLs that it would open. */
export async function register(issuer, redirectUri, name = 'Browser test', more = {}) {
  const response = await fetch(`${issuer}/register`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ client_name: name, redirect_uris: [redirectUri], ...more }),
  });
  const body = await response.json();
  assert.equal(response.status, 201, JSON.stringify(body));
  const verifier = randomBytes(32).toString('base64url');
  return {
    id: body.client_id,
    verifier,
    authorize(presented, state, more = {}) {
      const url = new URL(`${issuer}/authorize`);
      url.search = new URLSearchParams({
        response_type: 'code',
        client_id: body.client_id,
        redirect_uri: presented,
        code_challenge: createHash('sha256').update(verifier).digest('base64url'),
        code_challenge_method: 'S256',
        state,
        resource: `${issuer}/mcp`,
        ...more,
      }).toString();
      return url.href;
    },
    /** What `/token` says to a refresh token. */
    refresh: (token) =>
      fetch(`${issuer}/token`, {
        method: 'POST',
        body: new URLSearchParams({ grant_type: 'refresh_token', client_id: body.client_id, refresh_token: token }),
      }),
    /** What `/token` says to a code. */
    async redeem(code, presented) {
      const answer = await fetch(`${issuer}/token`, {
        method: 'POST',
        body: new URLSearchParams({
          grant_type: 'authorization_code',
          client_id: body.client_id,
          redirect_uri: presented,
          code_verifier: verifier,
          code,
          ...(body.client_secret && { client_secret: body.client_secret }),
        }),
      });
      return { status: answer.status, body: await answer.json() };
    },
  };
}

export const approve = (page) => page.click('button[value=approve]');
export const deny = (page) => page.click('button[value=deny]');

/** Fills in the provider's form. */
export async function signIn(page, user) {
  await page.fill('input[name=username]', user.username);
  await page.fill('input[name=password]', user.password);
  await page.click('[name=signInSubmitButton]');
}

/** axe-core has nothing to say about the page, and it fits on the screen. */
export async function inspect(page, name) {
  // Not as a script element, which the page's policy forbids: the browser evaluates it from outside.
  await page.evaluate(axeSource);
  const results = await page.evaluate(() => globalThis.axe.run(document, { preload: false }));
  const problems = results.violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join(' | ')}`,
  );
  assert.deepEqual(problems, [], `axe-core on ${name}`);
  const contrast = results.passes.find(({ id }) => id === 'color-contrast');
  assert.ok(contrast, `axe-core did not measure the contrast of ${name}`);
  // Not innerWidth, which grows on a phone until everything fits.
  const overflow = (await page.evaluate(() => document.documentElement.scrollWidth)) - page.viewportSize().width;
  assert.ok(overflow <= 0, `${name} is ${overflow} pixels wider than the screen`);
}
