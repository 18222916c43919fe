// The page on WebGPU, which SwiftShader has without a GPU.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";

import {
  DESKTOP, MINUTES, PAGE, PROGRAM, address, apart, certified, example, launch, picture, ready, serve, shown, step, trained,
} from "./browser.mjs";

const SOFTWARE = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan", "--use-vulkan=swiftshader"];

let browser;
let server;

before(async () => {
  server = await serve(PAGE);
  browser = await launch(SOFTWARE);
});

after(async () => {
  await browser?.close();
  server?.close();
});

async function fresh() {
  const page = await (await browser.newContext({ viewport: DESKTOP })).newPage();
  page.on("pageerror", (error) => assert.fail(`${error}`));
  page.on("console", (message) => message.type() === "error" && console.log(`the page: ${message.text()}`));
  await page.goto(address(server));
  await ready(page);
  return page;
}

const onGpu = (page) => page.getByLabel("Computed on").selectOption("gpu");

test("software is used only if it is chosen", async () => {
  const page = await fresh();
  assert.equal(await page.getByLabel("Computed on").inputValue(), "processor");
  assert.match(await page.locator("#on-state").textContent(), /software/);
  await onGpu(page);
});

test("the digits train on WebGPU at ε = 3 to at least 92 %", { timeout: 10 * MINUTES }, async () => {
  const page = await fresh();
  await example(page);
  await onGpu(page);
  const begun = performance.now();
  await page.getByRole("button", { name: "Train", exact: true }).click();
  await page.locator("#plots svg").first().waitFor({ timeout: MINUTES });
  const loaded = (performance.now() - begun) / 1000;
  assert.match(await page.locator("#plots").textContent(), /on the browser's GPU/);
  await trained(page);
  const took = (performance.now() - begun) / 1000;
  await picture(page, "gpu-desktop");
  const certificate = await certified(page, "gpu");
  const accuracy = await shown(page, "Validation accuracy");
  console.log(`${accuracy} % at ε = ${certificate.epsilon}, ${certificate.steps} steps, ${took.toFixed(1)} s, of which ${loaded.toFixed(1)} s before the first`);
  assert.ok(accuracy >= 92, `${accuracy} %`);
  assert.ok(certificate.guarantee && certificate.epsilon <= 3 && certificate.epsilon > 2.9, `${certificate.epsilon}`);
  assert.ok(took < 120, `${took} s`);
});

test("a reload in the middle goes on with the ε that was spent", { timeout: 10 * MINUTES }, async () => {
  const page = await fresh();
  await example(page);
  await onGpu(page);
  await page.getByRole("button", { name: "Train", exact: true }).click();
  await page.locator("#plots svg").first().waitFor({ timeout: MINUTES });
  while ((await step(page)) < 30) await page.waitForTimeout(20);
  const [before, spent] = [await step(page), await shown(page, "ε so far")];
  await page.reload();
  await ready(page);
  assert.equal(await page.getByLabel("Computed on").inputValue(), "gpu");
  await page.getByRole("button", { name: "Go on" }).click();
  await page.locator("#plots svg").first().waitFor({ timeout: MINUTES });
  assert.match(await page.locator("#plots").textContent(), /on the browser's GPU/);
  const again = await shown(page, "ε so far");
  assert.ok(again >= spent, `ε was ${spent} and is ${again}`);
  await trained(page);
  const certificate = await certified(page, "gpu-resumed");
  console.log(`reloaded at step ${before} with ε = ${spent}, went on with ε = ${again}, ended after ${certificate.steps} steps in the ledger, ${certificate.epsilon}`);
  assert.ok(certificate.epsilon <= 3 && certificate.steps >= before, `${certificate.epsilon}`);
});

test("with a test seed the parameters are those of the native gpu device", { timeout: 10 * MINUTES, skip: !PROGRAM }, async () => {
  const page = await fresh();
  const distance = await apart(page, server, "gpu", () => onGpu(page));
  console.log(`parameters are ${distance} from those of the native gpu device (relative L2)`);
  assert.ok(distance <= 1e-4, `${distance}`);
});

test("a GPU that is lost ends the run with a message, and a reload goes on", { timeout: 10 * MINUTES }, async () => {
  const page = await fresh();
  await example(page);
  await onGpu(page);
  await page.workers()[0].evaluate(() => {
    const { requestDevice } = GPUAdapter.prototype;
    GPUAdapter.prototype.requestDevice = async function (...wanted) {
      return (globalThis.opened = await requestDevice.apply(this, wanted));
    };
  });
  await page.getByRole("button", { name: "Train", exact: true }).click();
  while ((await step(page)) < 10) await page.waitForTimeout(20);
  await page.workers()[0].evaluate(() => globalThis.opened.destroy());
  const problem = page.locator("#run-state .problem");
  await problem.waitFor({ timeout: MINUTES });
  assert.match(await problem.textContent(), /the browser's GPU was lost.*reload the page/s);
  await picture(page, "gpu-lost-desktop");
  await page.reload();
  await ready(page);
  await page.getByLabel("Computed on").selectOption("processor");
  await page.getByRole("button", { name: "Go on" }).click();
  await trained(page);
  const certificate = await certified(page, "gpu-lost");
  assert.ok(certificate.guarantee && certificate.epsilon <= 3, `${certificate.epsilon}`);
});

test("where the GPU does not open, the processor trains, and the page says why", { timeout: 5 * MINUTES }, async () => {
  const page = await fresh();
  await example(page);
  await onGpu(page);
  await page.workers()[0].evaluate(() => {
    GPU.prototype.requestAdapter = async () => null;
  });
  await page.getByRole("button", { name: "Train", exact: true }).click();
  const problem = page.locator("#run-state .problem");
  await problem.waitFor({ timeout: MINUTES });
  assert.match(await problem.textContent(), /the GPU cannot be used, so the processor is/);
  assert.match(await page.locator("#plots").textContent(), /on .*(cpu|processor|core)/i);
  while ((await step(page)) < 3) await page.waitForTimeout(20);
});

/** Has the page's own library compile `model`, and the browser each of its shaders that it has not seen; says what is wrong with them. */
const compiled = async ({ name, bytes, choices }) => {
  const { default: init, Opened } = await import(new URL("dpc_web.js", location.href));
  globalThis.library ??= init({ module_or_path: new URL("dpc_web_bg.wasm", location.href) });
  await globalThis.library;
  globalThis.device ??= (await navigator.gpu.requestAdapter()).requestDevice();
  const device = await globalThis.device;
  const seen = (globalThis.seen ??= new Set());
  let opened;
  try {
    opened = new Opened(name, Uint8Array.from(atob(bytes), (char) => char.charCodeAt(0)), JSON.stringify(choices));
  } catch (error) {
    return { refused: `${error}`, seen: seen.size, wrong: [] };
  }
  const wrong = [];
  await Promise.all(Object.entries(JSON.parse(opened.shaders())).map(async ([shader, code]) => {
    if (seen.has(shader)) return;
    seen.add(shader);
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ code });
    const pipeline = device.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: "main" } }).then(() => null, (error) => `${error.message}`);
    const scope = device.popErrorScope();
    const said = (await module.getCompilationInfo()).messages.filter(({ type }) => type === "error");
    const failed = await pipeline;
    for (const text of [...said.map(({ lineNum, message }) => `${lineNum}: ${message}`), failed, (await scope)?.message]) {
      if (text) wrong.push(`${name}: ${shader}: ${text}`);
    }
  }));
  opened.free();
  return { seen: seen.size, wrong };
};

/** Ways to compile a model: how records are bounded and parameters moved decides on kernels too. */
const WAYS = [
  { clip: "flat:1", optimizer: "sgd" },
  { clip: "per-layer:1", optimizer: "adam" },
  { clip: "auto:1", optimizer: "sgd:momentum=0.9" },
];

test("every shader of the model zoo passes the browser's compiler", { timeout: 30 * MINUTES }, async () => {
  const page = await fresh();
  const zoo = JSON.parse(readFileSync("models/zoo/manifest.json"));
  // A page is given one file.
  const alone = zoo.filter(({ name }) => name !== "external_data").map((model) => ({
    file: `models/zoo/${model.files.dyn ?? model.files.ts}`,
    loss: model.class_axis === null || model.class_axis === 1 ? model.loss : `${model.loss}:axis=last`,
  }));
  const whole = ["digits_cnn", "mnist_cnn", "cifar_cnn", "imdb_embedding", "imdb_lstm"].map((name) => ({ file: `models/${name}.onnx`, loss: "cross-entropy" }));
  const [wrong, refused] = [[], []];
  let seen = 0;
  for (const { file, loss } of [...whole, ...alone]) {
    for (const way of WAYS) {
      const model = { name: file, bytes: readFileSync(file).toString("base64"), choices: { loss, ...way } };
      const found = await page.evaluate(compiled, model);
      if (found.refused) refused.push(`${file}: ${found.refused}`);
      wrong.push(...found.wrong);
      seen = found.seen;
    }
  }
  console.log(`${seen} shaders of ${whole.length + alone.length} models`);
  assert.deepEqual(wrong, []);
  assert.deepEqual(refused, []);
  assert.ok(seen > 500, `${seen}`);
});
