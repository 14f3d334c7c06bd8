// Plays stories, each in a browser profile of its own, and looks at pages on every screen.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { inspect, launch, listener, profile, register } from './street.mjs';

const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
const DESKTOP = { viewport: { width: 1280, height: 800 } };

/** How pages are looked at, and in Japanese once more; in light and in dark each time. */
const LOOKS = { phone: PHONE, desktop: DESKTOP };
export const JAPANESE = { japanese: { ...PHONE, locale: 'ja-JP' } };

/** One browser. `redirectUri` is what the client of each story registers; `shots` is where screenshots go. */
export async function theatre({ issuer, shots, redirectUri }) {
  mkdirSync(shots, { recursive: true });
  const browser = await launch();
  let passed = 0;
  const failed = [];

  /** Runs one story in a profile of its own. */
  async function run(name, options, story) {
    const began = performance.now();
    const street = { ...(await profile(browser, options)), local: await listener() };
    try {
      street.client = await register(issuer, redirectUri);
      await story(street.page, street);
      assert.deepEqual(street.complaints, [], 'complaints of the browser');
      passed += 1;
    } catch (error) {
      failed.push(name);
      console.error(`   FAILED: ${name}\n${error.stack}\n   at ${street.page.url()}`);
      const file = `failed-${name.replaceAll(/\W+/g, '-')}.png`;
      await street.page.screenshot({ path: path.join(shots, file) }).catch(() => {});
    } finally {
      street.local.close();
      await street.context.close();
      if (process.env.VERBOSE) console.log(`     ${name}: ${Math.round(performance.now() - began)} ms`);
    }
  }

  /** Opens each page in each way: axe-core has nothing to say, it fits, and there is a screenshot. */
  async function look(pages, looks = LOOKS) {
    for (const [way, options] of Object.entries(looks)) {
      for (const [name, open] of Object.entries(pages)) {
        await run(`${name}-${way}`, options, async (page, street) => {
          await open(page, street);
          if (options.locale === 'ja-JP') assert.equal(await page.getAttribute('html', 'lang'), 'ja');
          for (const colorScheme of ['light', 'dark']) {
            const title = `${name}-${way}-${colorScheme}`;
            await page.emulateMedia({ colorScheme });
            await inspect(page, title);
            await page.screenshot({ path: path.join(shots, `${title}.png`), fullPage: true });
          }
        });
      }
    }
  }

  /** Says how many there were; the process fails if one did. */
  async function finish() {
    await browser.close();
    console.log(`   ${passed} passed, ${failed.length} failed`);
    process.exitCode = failed.length === 0 ? 0 : 1;
  }

  return { browser, run, look, finish };
}
