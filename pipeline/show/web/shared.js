// Scripts of all pages. Text from data goes through text nodes and attributes: none of it is ever markup.
"use strict";

/** An element with attributes and children; strings become text. `--v` and the like are set as style properties. */
const make = (name, attributes = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "text") element.textContent = value;
    else if (key.startsWith("--")) element.style.setProperty(key, value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

/** 0.6166 as "61.7 %", not to be broken; what is not quite 0 or 1 is never shown as if it were. */
const percent = (p) => {
  if (p > 0 && p < 0.0005) return "< 0.1\u00a0%";
  if (p < 1 && p >= 0.9995) return "> 99.9\u00a0%";
  return `${(100 * p).toFixed(1)}\u00a0%`;
};

const score = (value) => (typeof value === "number" ? value.toFixed(3).replace("-", "−") : "–");

/** An image, or a word in its place where there is none. */
const picture = (source, words, absent = "image not here") => {
  const missing = () => make("span", { class: "absent", role: "img", "aria-label": words }, absent);
  if (source === null) return missing();
  const image = make("img", { src: source, alt: words, loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(missing()));
  return image;
};

/** Probabilities as bars. Rows: `{label, name, code, p, look}`. */
const bars = (rows) => make("ul", { class: "bars", "aria-label": "Probabilities" }, ...rows.map(({ label, name, code, p, look }) =>
  make("li", { class: `bar ${look}`, "data-label": label, "data-p": p },
    make("span", { class: "bar-name", title: name }, make("span", { class: "name", text: name }), code ? make("small", { text: code }) : null, make("span", { class: "mark" })),
    make("i", { "--v": p }), make("span", { class: "bar-p", text: percent(p) }))));

/** The images most like one. Entries: `{source, id, label, similarity, look}`; ids stand below where they are asked for. */
const neighbours = (entries, ids) => make("ul", { class: "near" }, ...entries.map(({ source, id, label, similarity, look }) => {
  const words = `training image ${id}, ${label}, similarity ${similarity.toFixed(2)}`;
  return make("li", { class: look, title: words }, make("span", { class: "frame" }, picture(source, words)), make("b", { text: label }),
    make("span", { text: similarity.toFixed(2) }), ids ? make("small", { class: "mono", text: id }) : null);
}));

/** Whether a text holds all words of a query. */
const holds = (text, query) => query.toLowerCase().split(/\s+/).every((word) => text.includes(word));

const sortable = (() => {
  const value = (cell, kind) => {
    const text = cell.dataset.v ?? cell.textContent.trim();
    if (kind === "text") return text.toLowerCase();
    const number = Number.parseFloat(text);
    return Number.isNaN(number) ? null : number;
  };

  /** Sort a table by a column; what has no number comes last, in either order. */
  const sort = (table, column, kind, order) => {
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row, place) => ({ row, place, key: value(row.cells[column], kind) }));
    rows.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
      const by = kind === "text" ? a.key.localeCompare(b.key, "en", { numeric: true }) : a.key - b.key;
      return sign * by || a.place - b.place;
    });
    table.tBodies[0].append(...rows.map((one) => one.row));
    for (const th of table.tHead.rows[0].cells) {
      if (th.hasAttribute("aria-sort")) th.setAttribute("aria-sort", th.cellIndex === column ? order : "none");
    }
    table.dispatchEvent(new Event("sorted"));
  };

  const other = { ascending: "descending", descending: "ascending" };
  for (const table of document.querySelectorAll("table.sortable")) {
    table.tHead.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const th = button.closest("th");
      sort(table, th.cellIndex, button.dataset.kind, other[th.getAttribute("aria-sort")] ?? button.dataset.first);
    });
  }

  /** Sort a table again by the column that it is sorted by. */
  return (table) => {
    const th = table.tHead.querySelector("[aria-sort=ascending], [aria-sort=descending]");
    if (th) sort(table, th.cellIndex, th.querySelector("button").dataset.kind, th.getAttribute("aria-sort"));
  };
})();
