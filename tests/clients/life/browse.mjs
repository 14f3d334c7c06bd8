// What clients open in place of a browser: goes through consent and sign-in, and brings the answer to the client.
//
//   browse.mjs URL        BROWSE_USER and BROWSE_PASSWORD say who signs in, BROWSE_LOG where complaints go
import { appendFileSync } from 'node:fs';

import { FakeBrowser } from '../fake_browser.mjs';

const { BROWSE_USER: username, BROWSE_PASSWORD: password, BROWSE_LOG: log } = process.env;
const note = (line) => log && appendFileSync(log, `${line}\n`);
const url = process.argv[2];
try {
  const browser = new FakeBrowser({ username, password });
  const answer = await browser.visit(url, new URL(url).searchParams.get('redirect_uri'));
  const page = await fetch(answer);
  await page.text();
  note(`at the client: ${page.status}`);
} catch (error) {
  note(`the browser stopped: ${error.message}`);
  process.exit(1);
}
