// An application on the TypeScript SDK, the same for both generations of it.
import { FakeBrowser } from '../fake_browser.mjs';

/** Its credential store, in memory, and its browser. */
class Application {
  stored = {};

  constructor({ redirect, document }) {
    this.redirectUrl = redirect;
    this.clientMetadataUrl = document;
    this.browser = new FakeBrowser({ username: process.env.BROWSE_USER, password: process.env.BROWSE_PASSWORD });
  }

  get clientMetadata() {
    return {
      client_name: 'TypeScript application',
      redirect_uris: [this.redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
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

  invalidateCredentials(what) {
    if (what === 'all' || what === 'client') delete this.stored.client;
    if (what === 'all' || what === 'tokens') delete this.stored.tokens;
  }

  async redirectToAuthorization(url) {
    this.callback = undefined;
    this.callback = new URL(await this.browser.visit(url.href, this.redirectUrl));
    const parameters = this.callback.searchParams;
    if (parameters.has('error')) throw new Error(`refused: ${parameters.get('error')}`);
    if (parameters.get('state') !== this.stored.state) throw new Error('another state came back');
  }
}

/** `make` gives client and transport, `finish` redeems what came back, `streamed` gives the arguments of a call with options. */
export function driver({ mcpUrl, redirect, document, make, finish, streamed = (call, options) => [call, options] }) {
  const application = new Application({ redirect, document });
  let client;
  let transport;

  /** The SDK stops at the browser; the application redeems the code and tries again, as the SDK's own examples do. */
  async function trying(action) {
    try {
      return await action();
    } catch (error) {
      if (!application.callback) throw error;
      const parameters = application.callback.searchParams;
      application.callback = undefined;
      await finish(transport, parameters);
      return action();
    }
  }

  return {
    async connect() {
      await client?.close().catch(() => {});
      await trying(async () => {
        ({ client, transport } = make(application, new URL(mcpUrl)));
        await client.connect(transport);
      });
    },
    async call({ tool }) {
      const answer = await trying(() => client.callTool({ name: tool, arguments: {} }));
      if (answer.isError) throw new Error(JSON.stringify(answer.content));
      return answer.structuredContent ?? answer.content;
    },
    async stream({ from, interval }) {
      const times = [];
      const call = { name: 'countdown', arguments: { from, interval_ms: interval } };
      const options = { onprogress: () => times.push(performance.now()), timeout: 30_000 };
      const answer = await client.callTool(...streamed(call, options));
      if (answer.isError) throw new Error(JSON.stringify(answer.content));
      return { notifications: times.length, spread: times.length ? times.at(-1) - times[0] : 0 };
    },
    expire() {
      application.stored.tokens = { ...application.stored.tokens, access_token: 'expired' };
    },
    forget() {
      delete application.stored.tokens;
    },
    async close() {
      await client?.close().catch(() => {});
    },
  };
}
