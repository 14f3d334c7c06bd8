// The TypeScript SDK, first generation: obeys the orders of life/orders.mjs.
//
//   life.mjs MCP_URL REDIRECT_URI [DOCUMENT_URL]
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

import { obey } from '../life/orders.mjs';
import { driver } from '../life/typescript.mjs';

const [mcpUrl, redirect, document] = process.argv.slice(2);
await obey(
  driver({
    mcpUrl,
    redirect,
    document,
    make: (application, url) => ({
      client: new Client({ name: 'life', version: '0' }),
      transport: new StreamableHTTPClientTransport(url, { authProvider: application }),
    }),
    finish: (transport, parameters) => transport.finishAuth(parameters.get('code')),
    streamed: (call, options) => [call, undefined, options],
  }),
);
