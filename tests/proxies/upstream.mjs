// An MCP server that tells what reached it: everything goes on to the demo server, but `?probe=events` and
// `?probe=ticks`, which stream.
//
//   node upstream.mjs DEMO_URL
//
// Prints one JSON line {port} when it listens on 127.0.0.1. `/seen` counts streams that were opened and cut off.
import { once } from 'node:events';
import http from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const EVENTS = 20;
const INTERVAL_MS = 150;
const TICKS = 100;

const demo = new URL(process.argv[2]);
const seen = { opened: 0, cut: 0 };

/** The first event holds the request's headers. */
async function events(request, response) {
  seen.opened += 1;
  let open = true;
  response.on('close', () => {
    open = false;
    if (!response.writableFinished) seen.cut += 1;
  });
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  response.write(`data: ${JSON.stringify({ raw: request.rawHeaders })}\n\n`);
  for (let index = 1; index < EVENTS && open; index++) {
    await sleep(INTERVAL_MS);
    response.write(`data: ${index}\n\n`);
  }
  response.end();
}

/** Every ten milliseconds, what time it is. */
async function ticks(response) {
  let open = true;
  response.on('close', () => (open = false));
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  for (let index = 0; index < TICKS && open; index++) {
    response.write(`data: ${Date.now()}\n\n`);
    await sleep(10);
  }
  response.end();
}

function pass(request, response) {
  const onward = http.request(
    { host: demo.hostname, port: demo.port, path: request.url, method: request.method, headers: request.headers },
    (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
      response.on('close', () => answer.destroy());
    },
  );
  onward.on('error', () => response.destroy());
  request.pipe(onward);
}

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://upstream');
  if (url.pathname === '/seen') {
    response.end(JSON.stringify(seen));
  } else if (url.searchParams.get('probe') === 'events') {
    events(request, response).catch(() => response.destroy());
  } else if (url.searchParams.get('probe') === 'ticks') {
    ticks(response).catch(() => response.destroy());
  } else {
    pass(request, response);
  }
});
server.keepAliveTimeout = 600_000;
server.listen(0, '127.0.0.1');
await once(server, 'listening');
console.log(JSON.stringify({ port: server.address().port }));
