// A plain, certified OpenID provider that is not Cognito: RS256, PKCE required, rotating refresh tokens.
//
//   node provider.mjs PORT_OR_0 CALLBACK_URL
//
// Prints one JSON line {issuer, client_id, client_secret} when it listens on 127.0.0.1. Its development pages take
// any password; the user `ada` is in the groups admins and staff, everybody else in staff.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';

import Provider from 'oidc-provider';

const [port, callback] = process.argv.slice(2);
if (!callback) {
  console.error('usage: provider.mjs PORT_OR_0 CALLBACK_URL');
  process.exit(2);
}
console.info = console.warn = (...words) => console.error(...words); // stdout carries the one line

const server = http.createServer();
server.listen(Number(port), '127.0.0.1');
await once(server, 'listening');
const issuer = `http://127.0.0.1:${server.address().port}`;
const client_id = 'vestibule';
const client_secret = randomBytes(32).toString('base64url');

const provider = new Provider(issuer, {
  clients: [
    {
      client_id,
      client_secret,
      redirect_uris: [callback],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'client_secret_basic',
      id_token_signed_response_alg: 'RS256',
    },
  ],
  scopes: ['openid', 'email', 'profile', 'groups', 'offline_access'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'], profile: ['name'] },
  conformIdTokenClaims: false, // email and groups in the ID token, as most providers do it
  findAccount: (_ctx, id) => ({
    accountId: id,
    claims: () => ({
      sub: id,
      name: id,
      email: `${id}@example.com`,
      email_verified: true,
      groups: id === 'ada' ? ['admins', 'staff'] : ['staff'],
    }),
  }),
  pkce: { required: () => true },
  issueRefreshToken: () => true,
  rotateRefreshToken: () => true,
  ttl: { AccessToken: 3600, IdToken: 3600, RefreshToken: 86_400, Session: 3600, Interaction: 600, Grant: 86_400 },
  features: { devInteractions: { enabled: true }, revocation: { enabled: true }, rpInitiatedLogout: { enabled: false } },
  cookies: { keys: [randomBytes(32).toString('base64url')] },
});
server.on('request', provider.callback());
console.log(JSON.stringify({ issuer, client_id, client_secret }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0));
