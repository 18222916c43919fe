// The page in a real browser: `cargo xtask web test`. It takes, by environment variables, the page's folder (DPC_PAGE), a folder with
// node_modules that also gets screenshots and results (DPC_WEB_TESTS), and a Chromium (DPC_CHROMIUM). With DPC_PROGRAM, a dpc, the
// certificate is verified by it too.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join, normalize } from "node:path";
import { after, before, test } from "node:test";

const { DPC_PAGE: PAGE, DPC_WEB_TESTS: PLACE, DPC_CHROMIUM: BROWSER, DPC_PROGRAM: PROGRAM } = process.env;
const require = createRequire(join(PLACE, "node_modules", "index.js"));
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm" };
const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };
const QUIET = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const MINUTES = 60_000;

/** A server of a folder's files, as plain as there are. */
function serve(folder) {
  const server = createServer((request, response) => {
    const name = normalize(new URL(request.url, "http://x").pathname).replace(/\/$/, "/index.html");
    try {
      const content = readFileSync(join(folder, name));
      response.writeHead(200, { "content-type": TYPES[extname(name)] ?? "application/octet-stream" });
      response.end(content);
    } catch {
      response.writeHead(404).end();
    }
  });
  return started(server);
}

function started(server) {
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

const address = (server, host = "localhost") => `http://${host}:${server.address().port}`;

let browser;
let server;

before(async () => {
  mkdirSync(join(PLACE, "screenshots"), { recursive: true });
  server = await serve(PAGE);
  const path = BROWSER.includes("/") ? BROWSER : execFileSync("which", [BROWSER], { encoding: "utf8" }).trim();
  browser = await chromium.launch({ executablePath: path, args: [...QUIET, ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])] });
});

after(async () => {
  await browser?.close();
  server?.close();
});

/** A page of a browser that has never been here. */
async function fresh(viewport = DESKTOP, options = {}) {
  const context = await browser.newContext({ viewport, ...options });
  const page = await context.newPage();
  page.on("pageerror", (error) => assert.fail(`${error}`));
  await page.goto(address(server));
  await ready(page);
  return page;
}

const ready = (page) => page.locator("html[data-ready=yes]").waitFor({ timeout: 30_000 });
const picture = (page, name) => page.screenshot({ path: join(PLACE, "screenshots", `${name}.png`), fullPage: true });
const trained = (page) => page.locator("#results").waitFor({ timeout: 5 * MINUTES });
const step = async (page) => Number(/\d+/.exec(await page.locator("#status").textContent())?.[0] ?? 0);

/** What a plot says of its last point. */
async function shown(page, title) {
  const label = await page.locator(`svg[aria-label^="${title}:"]`).getAttribute("aria-label");
  return Number(/: ([\d.]+)/.exec(label)[1]);
}

async function example(page) {
  await page.getByRole("button", { name: "Try it with handwritten digits" }).click();
  await page.locator("#start:enabled").waitFor({ timeout: MINUTES });
  await page.locator("#valid-state .good").waitFor();
}

async function download(page, id, name) {
  const [file] = await Promise.all([page.waitForEvent("download"), page.locator(`#${id}`).click()]);
  const path = join(PLACE, name);
  await file.saveAs(path);
  return readFileSync(path);
}

/** Certificate and ledger of a page that has trained, checked by dpc where there is one. */
async function certified(page, run) {
  mkdirSync(join(PLACE, run), { recursive: true });
  const certificate = JSON.parse(await download(page, "get-certificate", join(run, "certificate.json")));
  const ledger = await download(page, "get-ledger", join(run, "ledger.jsonl"));
  const lines = ledger.toString().trim().split("\n");
  assert.equal(certificate.steps, lines.length);
  if (PROGRAM) execFileSync(PROGRAM, ["verify-certificate", join(PLACE, run)], { stdio: "inherit" });
  return certificate;
}

/** The fields of a protocol buffer: their numbers, and what they hold. */
function* fields(bytes) {
  let at = 0;
  const number = () => {
    for (let [value, factor] = [0, 1]; ; factor *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = number();
    const [field, kind] = [key >>> 3, key & 7];
    const length = kind === 2 ? number() : { 1: 8, 5: 4 }[kind];
    if (length === undefined) yield [field, number()];
    else yield [field, bytes.subarray(at, (at += length))];
  }
}

/** The values of an ONNX model's initialisers, by name. */
function initializers(model) {
  const found = new Map();
  for (const [field, graph] of fields(model)) {
    for (const [of, tensor] of field === 7 ? fields(graph) : []) {
      if (of !== 5) continue;
      const held = new Map(fields(tensor));
      const raw = held.get(9);
      if (held.get(2) === 1 && raw) found.set(held.get(8).toString(), new Float32Array(new Uint8Array(raw).buffer));
    }
  }
  return found;
}

test("it starts in less than two seconds, and says what it does", async () => {
  const begun = performance.now();
  const page = await fresh();
  const took = performance.now() - begun;
  const lead = await page.locator(".lead").textContent();
  assert.match(lead, /stay on this computer/);
  assert.equal(lead.match(/[.](?=\s|$)/g).length, 3, "three sentences");
  await picture(page, "first-desktop");
  const phone = await fresh(PHONE);
  await picture(phone, "first-phone");
  const wide = await phone.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= PHONE.width, `${wide} pixels are wider than the screen`);
  console.log(`ready after ${took.toFixed(0)} ms`);
  assert.ok(took < 2000, `${took} ms`);
});

test("the digits train at ε = 3 to at least 92 %", { timeout: 10 * MINUTES }, async () => {
  const page = await fresh();
  await example(page);
  await picture(page, "ready-desktop");
  const begun = performance.now();
  await page.getByRole("button", { name: "Train", exact: true }).click();
  await page.locator("#plots svg").first().waitFor({ timeout: MINUTES });
  while ((await step(page)) < 50) await page.waitForTimeout(50);
  await picture(page, "training-desktop");
  await trained(page);
  const took = (performance.now() - begun) / 1000;
  await picture(page, "trained-desktop");
  await page.setViewportSize(PHONE);
  await picture(page, "trained-phone");
  const certificate = await certified(page, "digits");
  const accuracy = await shown(page, "Validation accuracy");
  console.log(`${accuracy} % at ε = ${certificate.epsilon}, ${took.toFixed(1)} s`);
  assert.ok(accuracy >= 92, `${accuracy} %`);
  assert.ok(certificate.guarantee && certificate.epsilon <= 3 && certificate.epsilon > 2.9, `${certificate.epsilon}`);
  assert.ok(took < 120, `${took} s`);
  const model = await download(page, "get-model", "trained.onnx");
  assert.ok(model.includes("dpc.privacy"));
  // The loss was not asked for.
  assert.equal(await page.locator("svg[aria-label^='Training loss']").count(), 0);
});

test("a reload in the middle goes on with the ε that was spent", { timeout: 10 * MINUTES }, async () => {
  const page = await fresh();
  await example(page);
  await page.getByLabel("Show the training loss").check();
  await page.getByRole("button", { name: "Train", exact: true }).click();
  await page.locator("#plots svg").first().waitFor({ timeout: MINUTES });
  while ((await step(page)) < 30) await page.waitForTimeout(20);
  const [before, spent] = [await step(page), await shown(page, "ε so far")];
  await page.reload();
  await ready(page);
  await page.getByRole("button", { name: "Go on" }).waitFor();
  await picture(page, "saved-desktop");
  await page.getByRole("button", { name: "Go on" }).click();
  await page.locator("#plots svg").first().waitFor({ timeout: MINUTES });
  const again = await shown(page, "ε so far");
  assert.ok(again >= spent, `ε was ${spent} and is ${again}`);
  await trained(page);
  await picture(page, "resumed-desktop");
  const certificate = await certified(page, "resumed");
  console.log(`reloaded at step ${before} with ε = ${spent}, went on with ε = ${again}, ended after ${certificate.steps} steps in the ledger, ${certificate.epsilon}`);
  assert.ok(certificate.epsilon <= 3, `${certificate.epsilon}`);
  assert.ok(certificate.steps >= before);
  assert.equal(await page.locator("svg[aria-label^='Training loss']").count(), 1);

  // ε is spent: another run on the same data is refused, and says so.
  await page.getByRole("button", { name: "Train another" }).click();
  await ready(page);
  await example(page);
  await page.getByLabel("ε, at most").fill("1");
  await page.getByRole("button", { name: "Train", exact: true }).click();
  await page.locator("#start-state .problem").waitFor({ timeout: MINUTES });
  assert.match(await page.locator("#start-state").textContent(), /ledger.*have cost ε = \d/s);
  await picture(page, "spent-desktop");
});

test("two windows do not write one ledger", { timeout: 5 * MINUTES }, async () => {
  const page = await fresh();
  await example(page);
  await page.getByRole("button", { name: "Train", exact: true }).click();
  await page.locator("#plots svg").first().waitFor({ timeout: MINUTES });
  const other = await page.context().newPage();
  await other.goto(address(server));
  await ready(other);
  await example(other);
  await other.getByRole("button", { name: "Train", exact: true }).click();
  await other.locator("#start-state .problem").waitFor({ timeout: MINUTES });
  assert.match(await other.locator("#start-state").textContent(), /another window/);
});

test("a refused model shows its reasons", async () => {
  const page = await fresh();
  await page.getByLabel("An ONNX model").setInputFiles("models/refused/unsupported_ops.dyn.onnx");
  const problem = page.locator("#model-state .problem");
  await problem.waitFor({ timeout: MINUTES });
  const text = await problem.textContent();
  assert.match(text, /node `/);
  assert.equal(await page.locator("#start:enabled, #train:enabled").count(), 0);
  await picture(page, "refused-desktop");
  await page.setViewportSize(PHONE);
  await picture(page, "refused-phone");
  await page.getByLabel("An ONNX model").setInputFiles("models/refused/batch_mean.dyn.onnx");
  await page.locator("#model-state", { hasText: "would depend on other records" }).waitFor({ timeout: MINUTES });
});

test("what is no model or no data is refused, and the page goes on", async () => {
  const page = await fresh();
  const model = page.getByLabel("An ONNX model");
  await model.setInputFiles({ name: "m.dpc", mimeType: "", buffer: Buffer.from("PK\x03\x04 not a zip") });
  await page.locator("#model-state .problem", { hasText: "m.dpc is no dpc artifact" }).waitFor({ timeout: MINUTES });
  await model.setInputFiles({ name: "m.onnx", mimeType: "", buffer: Buffer.from("no model") });
  await page.locator("#model-state .problem", { hasText: "is not an ONNX model" }).waitFor({ timeout: MINUTES });
  await example(page);
  await page.getByLabel("To train on").setInputFiles("models/digits_cnn.onnx");
  await page.locator("#train-state .problem").waitFor({ timeout: MINUTES });
});

test("nothing leaves the page, not from its worker either", async () => {
  let asked = 0;
  const elsewhere = await started(createServer((request, response) => {
    asked += 1;
    response.writeHead(200, { "access-control-allow-origin": "*" }).end("taken");
  }));
  const page = await fresh();
  const leak = async (url) => {
    try {
      return await (await fetch(url)).text();
    } catch (error) {
      return `${error.name}`;
    }
  };
  const url = address(elsewhere);
  assert.equal(await page.evaluate(leak, url), "TypeError");
  assert.equal(await page.workers()[0].evaluate(leak, url), "TypeError");
  assert.equal(asked, 0);
  elsewhere.close();
});

test("it opens without a network", async () => {
  const own = await serve(PAGE);
  const page = await (await browser.newContext()).newPage();
  await page.goto(address(own));
  await ready(page);
  await page.evaluate(() => navigator.serviceWorker.ready);
  own.close();
  own.closeAllConnections();
  await page.reload();
  await ready(page);
  await example(page);
});

test("keyboard and screen readers have all of it", { timeout: 5 * MINUTES }, async () => {
  const page = await fresh();
  const audited = async (what) => {
    const found = await page.evaluate(`${AXE}; axe.run()`);
    const said = found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
    assert.deepEqual(said, [], what);
  };
  await audited("first view");
  // All of it by keyboard: the example, then the button that it leads to.
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "model");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "example");
  await page.keyboard.press("Enter");
  await page.locator("#start:focus").waitFor({ timeout: MINUTES });
  await audited("before training");
  await page.keyboard.press("Enter");
  await page.locator("#pause:focus").waitFor({ timeout: MINUTES });
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Go on" }).waitFor({ timeout: MINUTES });
  assert.match(await page.getByRole("status").textContent(), /Paused after step \d+ of \d+/);
  await audited("paused");
  const names = await page.getByRole("img").evaluateAll((images) => images.map((image) => image.getAttribute("aria-label")));
  assert.equal(names.length, 2);
  assert.ok(names.every((name) => /after \d+ of \d+ steps/.test(name)), names.join("; "));
  const paused = await step(page);
  await page.keyboard.press("Enter");
  while ((await step(page)) <= paused) await page.waitForTimeout(20);
});

test("with a test seed the parameters are those of the command line", { timeout: 5 * MINUTES, skip: !PROGRAM }, async () => {
  const page = await fresh();
  await page.goto(`${address(server)}/?insecure-seed=7`);
  await ready(page);
  await example(page);
  await page.getByLabel("Passes over the data").fill("3");
  await page.getByRole("button", { name: "Train", exact: true }).click();
  await trained(page);
  assert.match(await page.locator("#statement").textContent(), /seed/);
  await download(page, "get-model", "seeded.onnx");
  const [model, run] = [join(PLACE, "seeded.dpc"), join(PLACE, "seeded.run")];
  execFileSync("rm", ["-rf", model, run]);
  const dpc = (...words) => execFileSync(PROGRAM, words, { stdio: "inherit" });
  dpc("compile", "models/digits_cnn.onnx", "-o", model, "--loss", "cross-entropy", "--clip", "flat:0.1");
  dpc("train", model, "--data", "models/digits_train.npz", "--epsilon", "3", "--delta", "1e-4", "--epochs", "3", "--batch", "256",
    "--lr", "20", "--insecure-seed", "7", "--device", "cpu", "--out", run);
  dpc("export", run, "-o", join(PLACE, "native.onnx"));
  const [found, expected] = ["seeded.onnx", "native.onnx"].map((name) => initializers(readFileSync(join(PLACE, name))));
  let [apart, all] = [0, 0];
  for (const [name, values] of expected) {
    values.forEach((value, at) => {
      apart += (value - found.get(name)[at]) ** 2;
      all += value ** 2;
    });
  }
  console.log(`parameters are ${Math.sqrt(apart / all)} from those of the command line (relative L2)`);
  assert.ok(expected.size > 0 && apart <= 1e-8 * all);
});
