// The worker: the library, the files of the run, and the loop that takes its steps. It answers what the page asks, and tells of each step.

import init, { Opened, Run, answer } from "./dpc_web.js";
import { gpu } from "./gpu.js";
import * as store from "./store.js";
import * as suspension from "./suspend.js";

const ready = init({ module_or_path: new URL("dpc_web_bg.wasm", import.meta.url) });

/** Has the library do what `asked` asks of it, and waits for the answer: one thing after the other. */
let before = Promise.resolve();
function done(asked) {
  const turn = before.then(async () => {
    const { work } = await ready;
    asked();
    await (suspension.possible ? WebAssembly.promising(work)() : work());
    return answer();
  });
  before = turn.catch(() => {});
  return turn;
}

let model = null;
const data = { train: null, valid: null };
let run = null;
let ledger = null;
let losses = false;
let paused = true;
let loop = null;
let saves = 0;

const text = (value) => new TextEncoder().encode(JSON.stringify(value));

async function digest(bytes) {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Lets messages in between two steps, without the wait that timers have. */
const breath = new MessageChannel();
const breathe = () =>
  new Promise((go) => {
    breath.port1.onmessage = go;
    breath.port2.postMessage(null);
  });

function open({ name, bytes, choices }) {
  model?.opened.free();
  model = null;
  const opened = new Opened(name, bytes, JSON.stringify(choices ?? {}));
  model = { name, opened };
  data.train = data.valid = null;
  return JSON.parse(opened.facts());
}

/** Reads data; validation data have the vocabularies of those that are trained on. */
async function give({ role, name, bytes, tables }) {
  data[role] = null;
  const fitted = role === "valid" && data.train ? JSON.parse(data.train.given.fitted()) : {};
  const given = model.opened.data(name, bytes, JSON.stringify({ ...tables, fitted }));
  data[role] = { name, bytes, given, tables, digest: await digest(bytes) };
  const taken = Object.keys(JSON.parse(given.fitted())).filter((column) => !(column in fitted));
  return { records: given.records(), grouped: given.grouped(), taken };
}

/** Makes the run, or goes on with the one that is stored. */
async function make(settings, checkpoints) {
  try {
    ledger = await store.ledger(data.train.digest);
  } catch (error) {
    if (error.name !== "NoModificationAllowedError") throw error;
    throw JSON.stringify({
      message: "another window is training on the same data",
      help: "close it, or wait until it has ended: a ledger is written by one run at a time",
      causes: [],
      parts: [],
    });
  }
  try {
    run = await done(() => Run.begin(model.opened, data.train.given, JSON.stringify(settings), ledger, checkpoints));
  } catch (error) {
    ledger.close();
    ledger = null;
    throw error;
  }
  if (data.valid) await done(() => run.validate_on(data.valid.given));
  losses = settings.losses;
  const facts = JSON.parse(await done(() => run.facts()));
  return { ...facts, epsilon: await epsilon(), settings, evaluation: await evaluation() };
}

const epsilon = () => done(() => run.epsilon());

async function evaluation() {
  const found = await done(() => run.validate());
  return found === undefined ? null : JSON.parse(found);
}

async function begin({ settings }) {
  const facts = await make(settings, []);
  await store.removeRun();
  await store.write("model.dpc", model.opened.artifact());
  await store.write("train", data.train.bytes);
  if (data.valid) await store.write("valid", data.valid.bytes);
  const names = { model: model.name, train: data.train.name, valid: data.valid?.name ?? null };
  // With this file it is a run.
  await store.write("run.json", text({ names, settings, tables: data.train.tables }));
  await checkpoint();
  return facts;
}

/** The run that is stored, if there is one. */
async function saved() {
  const about = await store.read("run.json");
  return about?.length ? JSON.parse(new TextDecoder().decode(about)) : null;
}

async function resume({ on }) {
  const { names, settings, tables } = await saved();
  open({ name: names.model, bytes: await store.read("model.dpc") });
  await give({ role: "train", name: names.train, bytes: await store.read("train"), tables });
  if (names.valid !== null) await give({ role: "valid", name: names.valid, bytes: await store.read("valid"), tables });
  const facts = await make({ ...settings, on }, await store.checkpoints());
  saves = (await store.checkpoints()).length;
  return { ...facts, names };
}

async function checkpoint() {
  await store.saveCheckpoint(saves++, await done(() => run.checkpoint()));
}

/** Does `work` when it is due: not so often that it takes more than a tenth of the time. */
class NowAndThen {
  constructor(least) {
    Object.assign(this, { least, next: 0 });
  }

  async when(due, work) {
    const begun = performance.now();
    if (!due && begun < this.next) return undefined;
    const result = await work();
    const ended = performance.now();
    this.next = ended + Math.max(this.least, 10 * (ended - begun));
    return result;
  }
}

async function train() {
  const [telling, validating, saving] = [new NowAndThen(100), new NowAndThen(500), new NowAndThen(1000)];
  const steps = [];
  let ended = false;
  while (!paused && !ended) {
    const taken = await done(() => run.step(losses));
    ended = taken === undefined;
    if (taken !== undefined) steps.push(JSON.parse(taken));
    const stopping = ended || paused;
    const valid = await validating.when(stopping, evaluation);
    await saving.when(stopping, checkpoint);
    await telling.when(stopping || valid, async () => {
      postMessage({ event: "steps", steps: steps.splice(0), epsilon: await epsilon(), evaluation: valid });
    });
    await breathe();
  }
  if (!ended) await checkpoint();
  if (steps.length) postMessage({ event: "steps", steps, epsilon: await epsilon(), evaluation: null });
  postMessage({ event: ended ? "ended" : "paused" });
}

function go() {
  paused = false;
  loop = train().catch((error) => postMessage({ event: "failed", problem: problem(error) }));
}

async function pause() {
  paused = true;
  await loop;
}

async function forget() {
  await pause();
  ledger?.close();
  await store.removeAll();
}

async function results() {
  const length = ledger.getSize();
  const lines = new Uint8Array(length);
  ledger.read(lines, { at: 0 });
  const model = await done(() => run.export());
  const certificate = await done(() => run.certificate());
  return { model, certificate, statement: await done(() => run.statement()), ledger: lines };
}

/** What was thrown: the library's problems are JSON; all else is a defect, or the browser's. */
function problem(error) {
  if (typeof error === "string") return JSON.parse(error);
  const broken = error instanceof WebAssembly.RuntimeError;
  return {
    message: broken ? "the library has stopped: this file is more than it can take, or dpc has a defect" : `${error.name}: ${error.message}`,
    help: broken ? "reload the page; a run that was begun goes on from its last checkpoint" : null,
    causes: broken ? [`${error.message}`] : [],
    parts: [],
  };
}

const answers = { gpu, open, data: give, begin, saved, resume, go, pause, results, discard: store.removeRun, forget };

onmessage = async ({ data: { id, ask, ...rest } }) => {
  try {
    await ready;
    const answer = await answers[ask](rest);
    postMessage({ id, answer });
  } catch (error) {
    postMessage({ id, problem: problem(error) });
  }
};
