// The table of runs: sorts, filters, and gets its intervals one run after another.

import { ask, bracket, score, whisker } from "./page.js";

const find = (id) => document.getElementById(id);
const table = find("runs");
const NUMBERS = ["mcc", "weighted_f1", "balanced_accuracy", "accuracy"];
const sorting = { by: "mcc", down: true };
const intervals = new Map(); // run -> part -> name -> interval

function part() {
  return find("part").value;
}

function cellOf(row, name) {
  return row.querySelector(`[data-metric="${name}"]`);
}

/** What a row is sorted by: a number, NaN where it has none, or a text. */
function valueOf(row, by) {
  if (!NUMBERS.includes(by)) return row.dataset[by];
  const text = cellOf(row, by).dataset[part()];
  return text === undefined ? NaN : Number(text);
}

function compare(a, b) {
  if (typeof a === "string") return a.localeCompare(b, "en", { numeric: true });
  return a - b;
}

function sort() {
  const { by, down } = sorting;
  const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row, by), row]);
  rows.sort(([a], [b]) => {
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b); // without a score: last
    return down ? compare(b, a) : compare(a, b);
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
  for (const head of table.tHead.querySelectorAll("[data-sort]")) {
    if (head.dataset.sort === by) head.setAttribute("aria-sort", down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  find("sort").value = by;
}

function sortBy(by) {
  const first = NUMBERS.includes(by) || by === "finished"; // best and latest first, words from A
  sorting.down = sorting.by === by ? !sorting.down : first;
  sorting.by = by;
  sort();
}

function filter() {
  const words = find("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...table.tBodies[0].rows];
  let shown = 0;
  for (const row of rows) {
    const { id, head, features, dataset } = row.dataset;
    const text = `${id} ${head} ${features} ${dataset}`.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    shown += !row.hidden;
  }
  find("none").hidden = shown > 0;
  find("count").textContent = shown === rows.length ? `${shown} runs` : `${shown} of ${rows.length} runs`;
}

function showScores(row) {
  const known = intervals.get(row.dataset.id)?.[part()] ?? {};
  for (const name of NUMBERS) {
    const cell = cellOf(row, name);
    const text = cell.dataset[part()];
    cell.querySelector("b").textContent = text === undefined ? "–" : score(Number(text));
    cell.querySelector(".interval").textContent = bracket(known[name]);
    if (name !== "mcc") continue;
    cell.querySelector("svg")?.remove();
    if (text !== undefined) cell.append(whisker(Number(text), known[name]));
  }
}

async function fetchIntervals() {
  for (let row = next(); row; row = next()) {
    const { id } = row.dataset;
    try {
      intervals.set(id, (await ask(`/api/runs/${encodeURIComponent(id)}`)).intervals);
    } catch {
      intervals.set(id, {});
    }
    showScores(row);
  }
}

/** The first row, as the table stands, without its intervals; those that are shown come first. */
function next() {
  const absent = [...table.tBodies[0].rows].filter((row) => !intervals.has(row.dataset.id));
  return absent.find((row) => !row.hidden) ?? absent[0];
}

if (table) {
  for (const row of table.tBodies[0].rows) showScores(row);
  for (const head of table.tHead.querySelectorAll("[data-sort]")) {
    head.querySelector("button").addEventListener("click", () => sortBy(head.dataset.sort));
  }
  find("sort").addEventListener("change", (event) => sortBy(event.target.value));
  find("filter").addEventListener("input", filter);
  find("part").addEventListener("change", () => {
    for (const row of table.tBodies[0].rows) showScores(row);
    sort();
  });
  sort();
  filter();
  fetchIntervals();
}
