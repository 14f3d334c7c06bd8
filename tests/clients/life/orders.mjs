// The drivers' side of a life: orders come in as lines of JSON on stdin, each is answered with one on stdout.
// Orders: connect, call, stream, expire, forget, close. The order of things, and what must hold, is in lives.mjs.
import { createInterface } from 'node:readline';

/** Answers each order with the method of its name. */
export async function obey(driver) {
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    let answer;
    try {
      answer = { ok: true, value: (await driver[order.do](order)) ?? null };
    } catch (error) {
      answer = { ok: false, error: String(error?.message ?? error).slice(0, 300) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  process.exit(0);
}
