// What the MCP SDK's users write: express, requireBearerAuth with a verifier over jose, and http-proxy to the MCP server.
import { InvalidTokenError } from '@modelcontextprotocol/sdk/server/auth/errors.js';
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js';
import express from 'express';
import httpProxy from 'http-proxy';
import http from 'node:http';
import { createLocalJWKSet, jwtVerify } from 'jose';

const { PORT, UPSTREAM, UPSTREAM_PATH, PUBLIC_URL, JWKS } = process.env;
const keys = createLocalJWKSet(JSON.parse(JWKS));
const resource = `${PUBLIC_URL}/mcp`;

const verifier = {
  async verifyAccessToken(token) {
    const options = { issuer: PUBLIC_URL, audience: resource, algorithms: ['RS256'] };
    const { payload } = await jwtVerify(token, keys, options).catch((error) => {
      throw new InvalidTokenError(error.message);
    });
    return { token, clientId: payload.client_id, scopes: payload.scope.split(' '), expiresAt: payload.exp };
  },
};

const proxy = httpProxy.createProxyServer({
  target: UPSTREAM + UPSTREAM_PATH,
  ignorePath: true,
  agent: new http.Agent({ keepAlive: true, maxSockets: 64 }),
});
proxy.on('error', (error, request, response) => response.destroy?.());

const app = express();
const resourceMetadataUrl = `${PUBLIC_URL}/.well-known/oauth-protected-resource/mcp`;
app.get('/.well-known/oauth-protected-resource/mcp', (request, response) => {
  response.json({ resource, authorization_servers: [PUBLIC_URL], scopes_supported: ['mcp:read', 'mcp:write'] });
});
app.use('/mcp', requireBearerAuth({ verifier, requiredScopes: ['mcp:read'], resourceMetadataUrl }), (request, response) =>
  proxy.web(request, response),
);
app.listen(Number(PORT), '127.0.0.1');
