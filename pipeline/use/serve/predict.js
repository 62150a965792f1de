// The page of predictions: choose a run, give it images, look at its answers.
"use strict";

const COVERAGES = [0.8, 0.9, 0.95];
const find = (id) => document.getElementById(id);
const page = find("page");
const cards = []; // { card, prediction, sets, names }, those that have an answer
const queue = [];
const PAUSE = 300; // milliseconds: who walks through the list by keyboard does not want all runs loaded
let working = false;
let sets = []; // of the chosen run
let ready = ""; // the run that was loaded last
let asked = 0; // a run's answer that comes after another run was chosen is let go

// -- the run

function chosenRun() {
  const option = find("run").selectedOptions[0];
  return { id: option.value, words: `${option.dataset.head} on ${option.dataset.features}`, option };
}

async function chooseRun() {
  const { id, option } = chosenRun();
  const number = ++asked;
  const address = `/api/runs/${encodeURIComponent(id)}`;
  history.replaceState(null, "", `/?run=${encodeURIComponent(id)}`);
  find("fact-head").textContent = option.dataset.head;
  find("fact-features").replaceChildren(...option.dataset.features.split(/(?<=[+:])/).flatMap((part) => [part, make("wbr")]));
  find("fact-mcc").textContent = option.textContent.split("MCC ").at(-1).trim();
  find("run-link").href = `/runs/${encodeURIComponent(id)}`;
  find("sample").disabled = false;
  find("sample-note").hidden = true;
  askFor(JSON.parse(option.dataset.metadata ?? "[]"));
  sets = [];
  showNotes();
  setState("busy", "Loading the run: its networks and its head. The first time takes a while.");
  await new Promise((done) => setTimeout(done, PAUSE));
  if (number !== asked) return;
  ask(address).then((run) => number === asked && showInterval(run, option), () => {});
  try {
    const loaded = await ask(`${address}/load`, { method: "POST" });
    if (number !== asked) return;
    sets = loaded.sets;
    ready = id;
    const { images, ece_before, ece_after } = loaded.calibration;
    const gain = `${percent(ece_before)} before, ${percent(ece_after)} after`;
    setState("ready", `Ready. Calibrated on ${images.toLocaleString("en")} validation images; mean error of its confidence: ${gain}.`);
    showNotes();
  } catch (error) {
    if (number === asked) setState("bad", error.message);
  }
}

function showInterval(run, option) {
  const mcc = run.intervals.validation?.mcc;
  if (!mcc) return;
  const words = `MCC ${mcc.value.toFixed(3)} ${bracket(mcc)}`;
  find("fact-mcc").textContent = words.slice(4);
  option.textContent = option.textContent.replace(/MCC .*$/s, words);
}

/** A field for each column that the run has learned from beside images; what is left open is not known. */
function askFor(columns) {
  find("known").hidden = !columns.length;
  find("known-fields").replaceChildren(
    ...columns.flatMap(({ name, words }, number) => {
      const about = { id: `known-${number}`, "data-name": name, autocomplete: "off" };
      const options = [make("option", { value: "", text: "not known" }), ...(words ?? []).map((word) => make("option", { value: word, text: word }))];
      const field = words ? make("select", about, ...options) : make("input", { ...about, type: "number", step: "any", placeholder: "not known" });
      return [make("label", { for: about.id, text: name }), field];
    }),
  );
}

/** What the fields say; null where the run asks for nothing. */
function known() {
  const fields = [...find("known-fields").querySelectorAll("[data-name]")];
  return fields.length ? JSON.stringify(Object.fromEntries(fields.map((field) => [field.dataset.name, field.value || null]))) : null;
}

function setState(kind, words) {
  const state = find("state");
  state.className = `state ${kind}`;
  state.replaceChildren(...(kind === "busy" ? [make("span", { class: "spinner", "aria-hidden": "true" })] : []), words);
}

// -- the prediction set

function choice() {
  const coverage = COVERAGES[Number(find("coverage").value)];
  return { coverage, conditional: find("conditional").checked };
}

function showChoice() {
  const { coverage, conditional } = choice();
  const share = `${Math.round(100 * coverage)}\u00a0%`;
  find("coverage-text").textContent = share;
  find("coverage").setAttribute("aria-valuetext", share);
  const of100 = `Of 100 ${conditional ? "images of any one class" : "images"} like those of the data set`;
  find("set-help").textContent =
    `${of100}, about ${Math.round(100 * coverage)} have their true class in their set.` +
    (conditional ? " Rare classes get their share, and sets grow." : " Rare classes may get less than their share.");
  for (const entry of cards) showSet(entry);
  showNotes();
}

function showSet(entry) {
  const { coverage, conditional } = choice();
  const number = entry.sets.findIndex((s) => s.coverage === coverage && s.class_conditional === conditional);
  setSet(entry.card, entry.prediction, number, entry.sets[number], entry.names);
}

function showNotes() {
  const { coverage, conditional } = choice();
  const chosen = sets.find((s) => s.coverage === coverage && s.class_conditional === conditional);
  find("notes").replaceChildren(...(chosen ? chosen.notes : []).map((note) => make("li", { text: note })));
}

// -- images

/** Files of a drop, a paste or the picker become cards, which are answered one after another. */
function take(files) {
  const most = Number(page.dataset.mostFiles);
  const all = [...files];
  const left = all.length - most;
  say(left > 0 ? `${most} images at a time: the other ${left} were left out.` : "");
  addJobs(
    all.slice(0, most).map((file) => ({
      name: file.name || "pasted image",
      url: URL.createObjectURL(file),
      file,
    })),
  );
}

function addJobs(jobs) {
  if (!jobs.length) return;
  const run = chosenRun();
  for (const job of jobs) {
    job.run = run;
    if (job.file) job.known = known();
    job.card = waitingCard(job, run, () => forget(job));
  }
  find("cards").prepend(...jobs.map((job) => job.card));
  queue.push(...jobs);
  showEmpty();
  const top = find("results-head").getBoundingClientRect().top;
  if (top < 0 || top > 0.7 * innerHeight) find("results-head").scrollIntoView(); // on narrow screens it lies below
  work();
}

async function work() {
  if (working) return;
  working = true;
  while (queue.length) {
    const job = queue.shift();
    if (job.gone) continue;
    try {
      await predict(job);
    } catch (error) {
      setError(job.card, error.message);
      announce(`${job.name} could not be used: ${error.message}`);
    }
  }
  working = false;
}

async function predict(job) {
  const largest = Number(page.dataset.largestMb);
  if (job.file && job.file.size > largest * 1e6) {
    throw new Error(`it has ${(job.file.size / 1e6).toFixed(1)} MB, and ${largest} MB is the most that is taken.`);
  }
  const form = new FormData();
  form.append("run", job.run.id);
  if (job.file) form.append("files", job.file, job.name);
  else form.append("image_id", job.name);
  if (job.known) form.append("metadata", job.known);
  setWaiting(job.card, ready === job.run.id ? "Looking at it …" : "The run is being loaded …");
  const answer = await ask("/api/predict", { method: "POST", body: form });
  if (job.gone) return;
  const [prediction] = answer.predictions;
  if (prediction.error) throw new Error(prediction.error);
  const names = new Map(answer.classes.map(({ label, name }) => [label, name]));
  const entry = { card: job.card, prediction, sets: answer.sets, names };
  setPrediction(job.card, prediction, names, job.run.id);
  job.card.dataset.seconds = answer.seconds;
  cards.push(entry);
  showSet(entry);
  const best = `${shortName(names.get(prediction.label))}, ${percent(prediction.probabilities[prediction.label])}`;
  const unlike = prediction.unlike ? " Unlike anything seen in training." : "";
  announce(`${job.name}: ${best}.${unlike} ${job.card.querySelector(".set").textContent}`);
}

async function sample() {
  const { id } = chosenRun();
  const button = find("sample");
  const address = `/api/runs/${encodeURIComponent(id)}`;
  button.disabled = true;
  try {
    const { image_id } = await ask(`${address}/sample`);
    const url = `${address}/images/${encodeURIComponent(image_id)}?size=large`;
    if (id === chosenRun().id) addJobs([{ name: image_id, url }]);
    button.disabled = false;
  } catch (error) {
    find("sample-note").textContent = error.message;
    find("sample-note").hidden = false;
  }
}

function forget(job) {
  job.gone = true;
  if (job.file) URL.revokeObjectURL(job.url);
  const place = cards.findIndex((entry) => entry.card === job.card);
  if (place >= 0) cards.splice(place, 1);
  showEmpty();
}

function showEmpty() {
  const none = !find("cards").children.length;
  find("empty").hidden = !none;
  find("results-head").hidden = none;
}

function say(sentence) {
  find("message").textContent = sentence;
  find("message").hidden = !sentence;
}

function announce(sentence) {
  find("live").textContent = sentence;
}

function imagesOf(transfer) {
  return [...(transfer?.files ?? [])];
}

// -- what happens on the page

if (page) {
  find("run").addEventListener("change", chooseRun);
  find("coverage").addEventListener("input", showChoice);
  find("conditional").addEventListener("change", showChoice);
  find("sample").addEventListener("click", sample);
  find("file").addEventListener("change", (event) => {
    take(event.target.files);
    event.target.value = "";
  });
  find("clear").addEventListener("click", () => {
    for (const button of document.querySelectorAll(".card .remove")) button.click();
    say("");
    find("file").focus();
  });
  document.addEventListener("paste", (event) => {
    const files = imagesOf(event.clipboardData);
    if (files.length) take(files);
  });
  // A file that misses the zone must not replace the page.
  let inside = 0;
  const highlight = () => find("drop").classList.toggle("over", inside > 0);
  document.addEventListener("dragenter", () => (inside++, highlight()));
  document.addEventListener("dragleave", () => (inside--, highlight()));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    inside = 0;
    highlight();
    const files = imagesOf(event.dataTransfer);
    if (files.length) take(files);
    else say("That was no file. Save the image first, or copy it and paste it here.");
  });
  showChoice();
  chooseRun();
}
