// The TypeScript SDK, second generation: obeys the orders of life/orders.mjs.
//
//   life.mjs MCP_URL REDIRECT_URI [DOCUMENT_URL]
import * as sdk from '@modelcontextprotocol/client';

import { obey } from '../life/orders.mjs';
import { driver } from '../life/typescript.mjs';

const [mcpUrl, redirect, document] = process.argv.slice(2);
await obey(
  driver({
    mcpUrl,
    redirect,
    document,
    make(application, url) {
      const client = new sdk.Client({ name: 'life', version: '0' }, { versionNegotiation: { mode: process.env.PROTOCOL ?? 'auto' } });
      return { client, transport: new sdk.StreamableHTTPClientTransport(url, { authProvider: application }) };
    },
    finish: (transport, parameters) => transport.finishAuth(parameters),
  }),
);
