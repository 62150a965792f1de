// What the pages share. All text from data goes through textContent: none of it is ever HTML.

/** An element with attributes and children; strings become text. `text` and `class` are short forms. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") made.textContent = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Ask the server; what is not an answer becomes an Error with a sentence. */
export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Does `hamcache serve` still run?");
  }
  let content;
  try {
    content = await answer.json();
  } catch {
    throw new Error(`The server answered without saying what (status ${answer.status}).`);
  }
  if (!answer.ok) throw new Error(content.error || `The server refused (status ${answer.status}).`);
  return content;
}

/** Names of blocks, which may break after a plus sign and before a colon, as nodes for `append`. */
export function breakable(names) {
  return names
    .replaceAll(" ", "\u00a0")
    .split(/(?<=\+)|(?=:)/)
    .flatMap((part, number) => (number ? [document.createElement("wbr"), part] : [part]));
}

const SVG = "http://www.w3.org/2000/svg";

/** A score and its interval on an axis from 0 to 1, for the eye only. */
export function whisker(value, interval) {
  const svg = document.createElementNS(SVG, "svg");
  const attributes = { class: "whisker", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" };
  for (const [name, text] of Object.entries(attributes)) svg.setAttribute(name, text);
  const line = (kind, from, to, top) => {
    const made = document.createElementNS(SVG, "line");
    const at = [from, to].map((x) => Math.min(100, Math.max(0, 100 * x)));
    const places = { class: kind, x1: at[0], x2: at[1], y1: top, y2: top === 5 ? 5 : 10 - top };
    for (const [name, text] of Object.entries(places)) made.setAttribute(name, text);
    svg.append(made);
  };
  line("axis", 0, 1, 5);
  if (interval && interval.low !== null) line("reach", interval.low, interval.high, 5);
  line("value", value, value, 1);
  return svg;
}

export function score(value) {
  return typeof value === "number" ? value.toFixed(3) : "–";
}

export function bracket(interval) {
  return interval && interval.low !== null ? `[${score(interval.low)}, ${score(interval.high)}]` : "";
}

/** 0.6166 as "61.7 %", not to be broken; what is not quite 0 or 1 is never shown as if it were. */
export function percent(p) {
  if (p > 0 && p < 0.0005) return "< 0.1\u00a0%";
  if (p < 1 && p >= 0.9995) return "> 99.9\u00a0%";
  return `${(100 * p).toFixed(1)}\u00a0%`;
}
