// What the tests share: `cargo xtask web test`. They take, by environment variables, the page's folder (DPC_PAGE), a folder with
// node_modules that also gets screenshots and results (DPC_WEB_TESTS), and a Chromium (DPC_CHROMIUM). With DPC_PROGRAM, a dpc,
// certificates are verified by it too, and parameters compared with its own.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join, normalize } from "node:path";

export const { DPC_PAGE: PAGE, DPC_WEB_TESTS: PLACE, DPC_CHROMIUM: BROWSER, DPC_PROGRAM: PROGRAM } = process.env;
const require = createRequire(join(PLACE, "node_modules", "index.js"));
const { chromium } = require("playwright-core");
export const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".wasm": "application/wasm" };
export const DESKTOP = { width: 1280, height: 900 };
export const PHONE = { width: 390, height: 844 };
const QUIET = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
export const MINUTES = 60_000;

/** A server of a folder's files, as plain as there are. */
export function serve(folder) {
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

export function started(server) {
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

export const address = (server, host = "localhost") => `http://${host}:${server.address().port}`;

/** A Chromium, with flags of its own. */
export function launch(flags = []) {
  mkdirSync(join(PLACE, "screenshots"), { recursive: true });
  const path = BROWSER.includes("/") ? BROWSER : execFileSync("which", [BROWSER], { encoding: "utf8" }).trim();
  const args = [...QUIET, ...flags, ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])];
  return chromium.launch({ executablePath: path, args });
}

export const ready = (page) => page.locator("html[data-ready=yes]").waitFor({ timeout: 30_000 });
export const picture = (page, name) => page.screenshot({ path: join(PLACE, "screenshots", `${name}.png`), fullPage: true });
export const trained = (page) => page.locator("#results").waitFor({ timeout: 5 * MINUTES });
export const step = async (page) => Number(/\d+/.exec(await page.locator("#status").textContent())?.[0] ?? 0);

/** What a plot says of its last point. */
export async function shown(page, title) {
  const label = await page.locator(`svg[aria-label^="${title}:"]`).getAttribute("aria-label");
  return Number(/: ([\d.]+)/.exec(label)[1]);
}

export async function example(page) {
  await page.getByRole("button", { name: "Try it with handwritten digits" }).click();
  await page.locator("#start:enabled").waitFor({ timeout: MINUTES });
  await page.locator("#valid-state .good").waitFor();
}

export async function download(page, id, name) {
  const [file] = await Promise.all([page.waitForEvent("download"), page.locator(`#${id}`).click()]);
  const path = join(PLACE, name);
  await file.saveAs(path);
  return readFileSync(path);
}

/** Certificate and ledger of a page that has trained, checked by dpc where there is one. */
export async function certified(page, run) {
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

/** Trains three passes with a known seed, and says how far the parameters are from those of the command line on `device`: relative L2. */
export async function apart(page, server, device, choose = () => {}) {
  await page.goto(`${address(server)}/?insecure-seed=7`);
  await ready(page);
  await example(page);
  await choose();
  await page.getByLabel("Passes over the data").fill("3");
  await page.getByRole("button", { name: "Train", exact: true }).click();
  await trained(page);
  assert.match(await page.locator("#statement").textContent(), /seed/);
  await download(page, "get-model", `seeded-${device}.onnx`);
  const [model, run] = [join(PLACE, "seeded.dpc"), join(PLACE, `seeded-${device}.run`)];
  execFileSync("rm", ["-rf", model, run]);
  const dpc = (...words) => execFileSync(PROGRAM, words, { stdio: "inherit" });
  dpc("compile", "models/digits_cnn.onnx", "-o", model, "--loss", "cross-entropy", "--clip", "flat:0.1");
  dpc("train", model, "--data", "models/digits_train.npz", "--epsilon", "3", "--delta", "1e-4", "--epochs", "3", "--batch", "256",
    "--lr", "20", "--insecure-seed", "7", "--device", device, "--out", run);
  dpc("export", run, "-o", join(PLACE, "native.onnx"));
  const [found, expected] = [`seeded-${device}.onnx`, "native.onnx"].map((name) => initializers(readFileSync(join(PLACE, name))));
  assert.ok(expected.size > 0);
  let [distance, all] = [0, 0];
  for (const [name, values] of expected) {
    values.forEach((value, at) => {
      distance += (value - found.get(name)[at]) ** 2;
      all += value ** 2;
    });
  }
  return Math.sqrt(distance / all);
}

/** The steps that the command line takes in a second on one thread of the processor, by the time between step `from` and `to`. */
export function perSecond(from, to) {
  const [model, run] = [join(PLACE, "timed.dpc"), join(PLACE, "timed.run")];
  execFileSync("rm", ["-f", model]);
  execFileSync(PROGRAM, ["compile", "models/digits_cnn.onnx", "-o", model, "--loss", "cross-entropy", "--clip", "flat:0.1"], { stdio: "inherit" });
  const env = { ...process.env, RAYON_NUM_THREADS: "1" };
  const seconds = (steps) => {
    execFileSync("rm", ["-rf", run]);
    const begun = performance.now();
    execFileSync(PROGRAM, ["train", model, "--data", "models/digits_train.npz", "--epsilon", "3", "--delta", "1e-4", "--steps", `${steps}`, "--batch", "256",
      "--lr", "20", "--device", "cpu", "--out", run], { stdio: "ignore", env });
    return (performance.now() - begun) / 1000;
  };
  return (to - from) / (seconds(to) - seconds(from));
}
