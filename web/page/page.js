// The page: what is asked of a person, and what is shown of the answers. Training and privacy are the worker's library's.

import { Plot } from "./plot.js";

const at = (id) => document.getElementById(id);

// A worker of a script in memory has the page's Content-Security-Policy, which one of a file would not have.
const script = `import ${JSON.stringify(new URL("worker.js", import.meta.url).href)};`;
const worker = new Worker(URL.createObjectURL(new Blob([script], { type: "text/javascript" })), { type: "module" });
const waiting = new Map();
let asked = 0;

/** Asks the worker; what goes wrong is thrown as a problem. */
function ask(ask, rest = {}) {
  const id = ++asked;
  worker.postMessage({ id, ask, ...rest });
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

worker.onmessage = ({ data }) => {
  if (data.event) return told[data.event](data);
  const { resolve, reject } = waiting.get(data.id);
  waiting.delete(data.id);
  return data.problem ? reject(data.problem) : resolve(data.answer);
};
worker.onerror = (event) => {
  event.preventDefault();
  show(at("broken"), problem({ message: `the page cannot start: ${event.message ?? "its worker does not load"}`, help: "use a current browser, and serve the page by http from this computer" }));
};

// What is shown.

function made(name, text, className) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

const show = (place, ...content) => place.replaceChildren(...content);

function problem({ message, help, causes = [], parts = [] }) {
  const box = made("div", undefined, "problem");
  box.append(made("p", message, "title"));
  for (const cause of causes) box.append(made("p", cause));
  if (parts.length) {
    const list = made("ul");
    for (const part of parts) {
      const item = made("li");
      item.append(made("div", part.message, "title"));
      if (part.help) item.append(made("div", part.help, "help"));
      list.append(item);
    }
    box.append(list);
  }
  if (help) box.append(made("p", help, "help"));
  return box;
}

function good(title, facts = {}, notices = []) {
  const box = made("div", undefined, "good");
  box.append(made("p", title));
  const list = made("dl", undefined, "facts");
  for (const [name, value] of Object.entries(facts)) list.append(made("dt", name), made("dd", value));
  if (list.childElementCount) box.append(list);
  for (const notice of notices) box.append(made("p", notice, "hint"));
  return box;
}

const asProblem = (error) => (error?.parts ? error : { message: `${error}` });

/** Does `work`, and shows in `place` what goes wrong. */
async function trying(place, work) {
  try {
    return await work();
  } catch (error) {
    show(place, problem(asProblem(error)));
    return undefined;
  }
}

const shape = ({ name, dims }) => `${name} [${["N", ...dims].join(", ")}]`;
const percent = (value) => `${(100 * value).toFixed(1)} %`;
const fixed = (digits) => (value) => value.toFixed(digits);

// Model and data.

const given = { model: null, train: null, valid: null };

const choices = () => ({ loss: at("loss").value, clip: at("clip").value, optimizer: at("optimizer").value });

function enable() {
  at("train").disabled = at("valid").disabled = !given.model?.facts;
  at("recheck").disabled = !given.model || isArtifact(given.model.bytes);
  at("reread").disabled = !given.train && !given.valid;
  at("start").disabled = !given.model?.facts || !given.train?.facts;
}

const isArtifact = (bytes) => bytes[0] === 0x50 && bytes[1] === 0x4b;

async function openModel({ name, bytes }) {
  given.model = { name, bytes };
  for (const role of ["train", "valid"]) forgetData(role);
  const place = at("model-state");
  show(place, made("p", `Checking ${name} …`, "hint"));
  enable();
  const facts = await trying(place, () => ask("open", { name, bytes, choices: choices() }));
  if (!facts) return;
  given.model.facts = facts;
  const about = {
    "Inputs": facts.inputs.map(shape).join(", "),
    "Labels": facts.targets.map(shape).join(", ") || "none",
    "Trained": `${facts.numbers.toLocaleString("en")} numbers in ${facts.trained} parameters`,
    "Loss": facts.loss ?? "none",
    "Bound": facts.clip,
    "Optimizer": facts.optimizer,
  };
  show(place, good(`${name} treats every record alone and can be trained privately.`, about, facts.notices));
  const names = [...facts.inputs, ...facts.targets].map(shape).join(", ");
  at("wanted").textContent = `One .npz with the arrays ${names}, where N is the number of records; or a .csv with a header.`;
  enable();
}

function forgetData(role) {
  given[role] = null;
  show(at(`${role}-state`));
}

async function openData(role, { name, bytes }) {
  forgetData(role);
  const place = at(`${role}-state`);
  show(place, made("p", `Reading ${name} …`, "hint"));
  given[role] = { name, bytes };
  const tables = { columns: at("columns").value, missing: at("missing").value };
  const facts = await trying(place, () => ask("data", { role, name, bytes, tables }));
  if (facts) {
    given[role].facts = facts;
    const groups = facts.grouped ? ", in groups, each of which is protected as one" : "";
    const taken = facts.taken.map((column) => `The names in the column ${column} are taken from the data, which no guarantee covers: state them where they are known to all, as in ${column}{FIRST|SECOND}.`);
    show(place, good(`${name}: ${facts.records.toLocaleString("en")} records${groups}.`, {}, taken));
  }
  enable();
}

const opening = {
  model: openModel,
  train: (file) => openData("train", file),
  valid: (file) => openData("valid", file),
};

async function take(role, file) {
  if (file) await opening[role]({ name: file.name, bytes: new Uint8Array(await file.arrayBuffer()) });
}

for (const role of Object.keys(opening)) {
  const input = at(role);
  input.addEventListener("change", () => take(role, input.files[0]));
  const zone = document.querySelector(`.drop[data-for=${role}]`);
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.toggle("over", !input.disabled);
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    if (!input.disabled) take(role, event.dataTransfer.files[0]);
  });
}

at("recheck").addEventListener("click", () => openModel(given.model));

at("reread").addEventListener("click", async () => {
  for (const role of ["train", "valid"]) if (given[role]) await openData(role, given[role]);
});

at("example").addEventListener("click", async () => {
  const file = async (name) => ({ name, bytes: new Uint8Array(await (await fetch(`example/${name}`)).arrayBuffer()) });
  await trying(at("model-state"), async () => {
    const [model, train, valid] = await Promise.all(["digits_cnn.onnx", "digits_train.npz", "digits_test.npz"].map(file));
    const values = { loss: "cross-entropy", clip: "flat:0.1", optimizer: "sgd", epsilon: 3, delta: 1e-4, epochs: 20, batch: 256, rate: 20 };
    for (const [id, value] of Object.entries(values)) at(id).value = value;
    await openModel(model);
    await openData("train", train);
    await openData("valid", valid);
    at("start").focus();
  });
});

// Training.

let run = null;
let plots = {};

function settings() {
  const number = (id) => Number(at(id).value);
  const asked = {
    epsilon: number("epsilon"),
    delta: number("delta"),
    epochs: number("epochs"),
    batch: number("batch"),
    learning_rate: number("rate"),
    losses: at("losses").checked,
    on: at("on").value,
  };
  const seed = new URLSearchParams(location.search).get("insecure-seed");
  return seed === null ? asked : { ...asked, seed: Number(seed) };
}

at("settings").addEventListener("submit", async (event) => {
  event.preventDefault();
  const place = at("start-state");
  at("start").disabled = true;
  show(place, made("p", "Working out how much noise this takes …", "hint"));
  const facts = await trying(place, () => ask("begin", { settings: settings() }));
  if (facts) {
    show(place);
    begin(facts);
  } else {
    enable();
  }
});

/** Shows a run that was made, and lets it go. */
function begin(facts) {
  run = { ...facts, paused: false };
  for (const id of ["model", "data", "training"]) document.querySelector(`[aria-labelledby=${id}-title]`).hidden = true;
  at("saved").hidden = true;
  at("results").hidden = true;
  at("running").hidden = false;
  const sentence = `${facts.planned} steps, each with noise of ${facts.noise_multiplier.toFixed(3)} times the bound, drawn by ${facts.sampling}, on ${facts.device}.`;
  show(at("run-state"), ...facts.warnings.map(problem));
  if (facts.instead) at("run-state").append(problem({ ...facts.instead, message: `the GPU cannot be used, so the processor is: ${facts.instead.message}` }));
  if (facts.insecure) at("run-state").append(problem({ message: "all randomness follows from a known seed, so nothing is guaranteed" }));
  const steps = facts.planned;
  const place = at("plots");
  show(place, made("p", sentence, "hint"));
  plots = { epsilon: new Plot(place, { title: "ε so far", steps, number: fixed(2), low: 0, high: facts.settings.epsilon, target: facts.settings.epsilon }) };
  if (facts.evaluation) {
    const [title, key, number, high] = figure(facts.evaluation);
    plots.valid = new Plot(place, { title, steps, number, low: 0, high });
    plots.valid.key = key;
  }
  if (facts.settings.losses) plots.loss = new Plot(place, { title: "Training loss", note: "(not private)", steps, number: fixed(3), low: 0 });
  told.steps({ steps: [], epsilon: facts.epsilon, evaluation: facts.evaluation });
  at("running").scrollIntoView({ block: "start" });
  at("pause").focus({ preventScroll: true });
  at("pause").hidden = false;
  at("pause").textContent = "Pause";
  ask("go");
}

/** What is plotted of an evaluation. */
function figure({ accuracy }) {
  return accuracy === null ? ["Validation loss", "loss", fixed(3), null] : ["Validation accuracy", "accuracy", percent, 1];
}

const told = {
  steps({ steps, epsilon, evaluation }) {
    for (const { step, loss } of steps) {
      run.steps = step;
      if (loss !== null) plots.loss?.add(step, loss);
    }
    if (epsilon !== undefined && epsilon !== null) plots.epsilon.add(run.steps, epsilon);
    if (evaluation) plots.valid?.add(run.steps, evaluation[plots.valid.key]);
    const progress = at("progress");
    progress.max = run.last;
    progress.value = run.steps;
    at("status").textContent = `${run.paused ? "Paused after step" : "Step"} ${run.steps} of ${run.last}`;
    const tenth = Math.floor((10 * run.steps) / run.last);
    if (tenth !== run.tenth) say(at("status").textContent);
    run.tenth = tenth;
  },

  paused() {
    run.paused = true;
    at("pause").textContent = "Go on";
    told.steps({ steps: [] });
    say(at("status").textContent);
  },

  async ended() {
    at("pause").hidden = true;
    at("status").textContent = `Trained: ${run.steps} steps`;
    say(at("status").textContent);
    await trying(at("run-state"), async () => {
      const { model, certificate, statement, ledger } = await ask("results");
      offer("get-model", model, "application/octet-stream");
      offer("get-certificate", certificate, "application/json");
      offer("get-ledger", ledger, "application/jsonl");
      at("statement").textContent = statement;
      at("results").hidden = false;
      at("results").scrollIntoView({ block: "nearest" });
      at("get-model").focus({ preventScroll: true });
    });
  },

  failed({ problem: what }) {
    at("pause").hidden = true;
    at("status").textContent = `Stopped after step ${run.steps}`;
    at("run-state").append(problem(what));
  },
};

/** Tells those who listen; the status that is seen changes too often for that. */
function say(text) {
  at("spoken").textContent = text;
}

function offer(id, content, type) {
  at(id).href = URL.createObjectURL(new Blob([content], { type }));
}

at("pause").addEventListener("click", () => {
  if (!run.paused) return ask("pause");
  run.paused = false;
  at("pause").textContent = "Pause";
  return ask("go");
});

// What is stored.

at("resume").addEventListener("click", async () => {
  const place = at("broken");
  at("resume").disabled = true;
  const facts = await trying(place, () => ask("resume", { on: at("on").value }));
  if (facts) begin(facts);
  at("resume").disabled = false;
});

at("discard").addEventListener("click", async () => {
  await trying(at("broken"), () => ask("discard"));
  at("saved").hidden = true;
});

at("another").addEventListener("click", () => location.reload());

at("forget").addEventListener("click", async () => {
  const sure = "Delete the run and all ledgers? Models that were given away stay as they are, but the next run on the same data will not count them.";
  if (!confirm(sure)) return;
  await trying(at("broken"), async () => {
    await ask("forget");
    location.reload();
  });
});

await trying(at("broken"), async () => {
  const { missing, name, software } = await ask("gpu");
  const choice = at("on").querySelector("[value=gpu]");
  choice.disabled = Boolean(missing);
  if (name) choice.textContent = `the browser’s GPU (${name})`;
  if (!missing && !software) at("on").value = "gpu";
  if (missing) at("on-state").textContent = `The GPU cannot be used: ${missing}.`;
  if (software) at("on-state").textContent = "The browser’s GPU is software, which is slower than the processor used directly.";
});

await trying(at("broken"), async () => {
  const saved = await ask("saved");
  if (!saved) return;
  const { names, settings } = saved;
  if (!at("on").querySelector(`[value=${settings.on}]`)?.disabled) at("on").value = settings.on ?? at("on").value;
  at("saved-text").textContent = `${names.model} on ${names.train}, to ε = ${settings.epsilon} at most. It goes on from its last checkpoint.`;
  at("saved").hidden = false;
});
document.documentElement.dataset.ready = "yes";
navigator.serviceWorker?.register("offline.js").catch(() => {});
