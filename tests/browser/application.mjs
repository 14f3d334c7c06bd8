// An application in a web page, on the TypeScript SDK of either generation: the browser tests bundle this file and serve
// it from another origin than Vestibule's. The tests call `globalThis.application`.
import * as second from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

/** What has to last while the page is away at the sign-in. */
const kept = {
  read: (name) => JSON.parse(localStorage.getItem(name) ?? 'null') ?? undefined,
  write: (name, value) => localStorage.setItem(name, JSON.stringify(value)),
};

/** What the SDK asks an application for. */
const provider = {
  redirectUrl: `${location.origin}/callback`,
  get clientMetadata() {
    return {
      client_name: 'Page',
      redirect_uris: [this.redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    };
  },
  state() {
    const state = crypto.randomUUID();
    kept.write('state', state);
    return state;
  },
  clientInformation: () => kept.read('client'),
  saveClientInformation: (client) => kept.write('client', client),
  tokens: () => kept.read('tokens'),
  saveTokens: (tokens) => kept.write('tokens', tokens),
  codeVerifier: () => kept.read('verifier'),
  saveCodeVerifier: (verifier) => kept.write('verifier', verifier),
  async redirectToAuthorization(url) {
    if (kept.read('options').way === 'redirect') {
      location.assign(url);
      return;
    }
    const popup = open(url, 'sign-in', 'width=500,height=700');
    answer = new Promise((resolve) => {
      addEventListener('message', ({ source, origin, data }) => {
        if (source === popup && origin === location.origin) resolve(new URLSearchParams(data));
      });
    });
  },
};

/** The answer that the window of a sign-in will bring. */
let answer;
let client;
let transport;

function connection() {
  const { generation, protocol, mcpUrl } = kept.read('options');
  const options = { authProvider: provider };
  if (generation === 1) {
    client = new Client({ name: 'page', version: '0' });
    transport = new StreamableHTTPClientTransport(new URL(mcpUrl), options);
  } else {
    client = new second.Client({ name: 'page', version: '0' }, { versionNegotiation: { mode: protocol } });
    transport = new second.StreamableHTTPClientTransport(new URL(mcpUrl), options);
  }
}

async function finish(parameters) {
  if (parameters.get('state') !== kept.read('state')) throw new Error('another state came back');
  await transport.finishAuth(kept.read('options').generation === 1 ? parameters.get('code') : parameters);
}

globalThis.application = {
  options: (options) => kept.write('options', options),
  /** Gives 'connected', or 'away' when the page itself goes to the sign-in. */
  async connect() {
    connection();
    try {
      await client.connect(transport);
    } catch (error) {
      if (error.constructor.name !== 'UnauthorizedError' && !/unauthorized/i.test(error.message)) throw error;
      if (kept.read('options').way === 'redirect') return 'away';
      await finish(await answer);
      connection();
      await client.connect(transport);
    }
    return 'connected';
  },
  /** At the callback of the page itself. */
  async returned() {
    connection();
    await finish(new URLSearchParams(location.search));
    history.replaceState(null, '', '/');
    return this.connect();
  },
  async call(name, args = {}) {
    const { structuredContent, isError, content } = await client.callTool({ name, arguments: args });
    if (isError) throw new Error(JSON.stringify(content));
    return structuredContent;
  },
  /** When the steps of a tool arrived, in milliseconds. */
  async stream(from, interval) {
    const times = [];
    const options = { onprogress: () => times.push(performance.now()), timeout: 20_000 };
    const call = { name: 'countdown', arguments: { from, interval_ms: interval } };
    if (kept.read('options').generation === 1) await client.callTool(call, undefined, options);
    else await client.callTool(call, options);
    return times;
  },
  session: () => transport.sessionId,
  endSession: () => transport.terminateSession(),
  tokens: () => kept.read('tokens'),
  client: () => kept.read('client'),
  expire: () => kept.write('tokens', { ...kept.read('tokens'), access_token: 'expired' }),
  /** Neither generation of the SDK revokes; the metadata says where. */
  async revoke(issuer) {
    const metadata = await (await fetch(`${issuer}/.well-known/oauth-authorization-server`)).json();
    const form = { token: kept.read('tokens').refresh_token, client_id: kept.read('client').client_id };
    const { status } = await fetch(metadata.revocation_endpoint, { method: 'POST', body: new URLSearchParams(form) });
    return status;
  },
};

// In the window of a sign-in: the answer goes to the page that opened it.
if (location.pathname === '/callback' && opener) {
  opener.postMessage(location.search, location.origin);
  close();
}
