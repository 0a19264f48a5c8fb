// Looks at the dashboard in a real browser, as a test tells it: `node look.mjs CHROMIUM`, one JSON command a line on stdin, one
// answer a line on stdout. What the page complains of (its console, its errors, what its policy refused) is in each answer.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import readline from "node:readline";
import { chromium } from "playwright-core";

const QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

const browser = await chromium.launch({ executablePath: process.argv[2], args: QUIET });
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core"), "utf8");
let page = null;
let complaints = [];

const commands = {
  async open({ url, width = 1280, height = 900, scheme = "light" }) {
    const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, reducedMotion: "reduce" });
    await page?.context().close();
    page = await context.newPage();
    complaints = [];
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("dialog", (dialog) => { complaints.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
    await page.goto(url);
  },
  see: ({ selector, text }) => page.locator(selector, { hasText: text }).first().waitFor({ timeout: 30000 }),
  text: ({ selector }) => page.locator(selector).first().innerText(),
  fill: ({ selector, text }) => page.fill(selector, text),
  click: ({ selector }) => page.click(selector),
  press: ({ key }) => page.keyboard.press(key),
  look: ({ width, height, scheme }) => Promise.all([page.setViewportSize({ width, height }), page.emulateMedia({ colorScheme: scheme })]),
  // Wider than the window would have to be scrolled sideways, on a phone too.
  measure: () => page.evaluate(() => ({ wide: document.documentElement.scrollWidth, window: innerWidth, address: location.href })),
  // What keeps people with disabilities out (axe-core), each with the first place where it does.
  async bars() {
    await page.evaluate(`if (!window.axe) { ${AXE} }`);
    const { violations } = await page.evaluate("axe.run()");
    return violations.map((each) => `${each.id}: ${each.help}: ${each.nodes[0].html}`);
  },
  ask: ({ script }) => page.evaluate(script),
  shoot: ({ path, whole = false }) => page.screenshot({ path, fullPage: whole }).then(() => null),
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { command, ...given } = JSON.parse(line);
  let said;
  try {
    said = { value: (await commands[command](given)) ?? null };
  } catch (error) {
    said = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify({ ...said, complaints })}\n`);
}
await browser.close();
