// The gallery of mistakes, drawn from the page's own data.
"use strict";
(() => {
  const data = document.getElementById("g-data");
  if (!data) return;
  const { pictures, runs } = JSON.parse(data.textContent);
  const get = (name) => document.getElementById(`g-${name}`);
  const AT_ONCE = 12;
  let list = [];
  let limit = AT_ONCE;
  let large = 0;

  const run = () => runs[get("run").value];
  const kind = (code, mistake) => (code === mistake.true ? "is" : code === mistake.given ? "was" : "");
  const source = (place) => (place === null ? null : pictures[place]);

  const verdict = (mistake, names) => make("p", { class: "verdict" },
    make("b", { class: "is" }, names[mistake.true]), " taken for ", make("b", { class: "was" }, names[mistake.given]));

  const probabilities = (mistake, most) => {
    const order = mistake.p.map((p, code) => [p, code]).sort((a, b) => b[0] - a[0]);
    const few = order.filter(([, code], place) => place < most || code === mistake.true);
    return bars(few.map(([p, code]) => ({ label: run().classes[code], name: run().classes[code], p, look: kind(code, mistake) })));
  };

  const nearest = (mistake, ids) => neighbours(mistake.near.map((one) => (
    { source: source(one.picture), id: one.id, label: run().classes[one.label], similarity: one.cosine, look: kind(one.label, mistake) })), ids);

  const words = (mistake) => `${mistake.id}: ${run().classes[mistake.true]}, given ${run().classes[mistake.given]}`;

  const card = (mistake, place) => {
    const button = make("button", { type: "button", class: "picture frame", "aria-label": `${words(mistake)}, enlarge` }, picture(source(mistake.picture), words(mistake)));
    button.addEventListener("click", () => openLarge(place));
    const parts = [button, make("div", {}, verdict(mistake, run().classes),
      make("p", { class: "mono" }, `${mistake.id} · ${mistake.lesion}`), probabilities(mistake, 3))];
    if (mistake.near.length) parts.push(make("p", { class: "near-title" }, "Nearest training images"), nearest(mistake, false));
    return make("li", { class: "mistake card", "data-true": run().classes[mistake.true], "data-given": run().classes[mistake.given] }, ...parts);
  };

  const draw = () => {
    const [t, g] = [get("true").value, get("given").value];
    list = run().mistakes.filter((one) => (t === "" || one.true === Number(t)) && (g === "" || one.given === Number(g)));
    get("list").replaceChildren(...list.slice(0, limit).map(card));
    get("more").hidden = list.length <= limit;
    const all = run().counts.flatMap((row, truth) => row.filter((_, guess) => truth !== guess
      && (t === "" || truth === Number(t)) && (g === "" || guess === Number(g)))).reduce((sum, n) => sum + n, 0);
    get("count").textContent = `${Math.min(limit, list.length)} shown; here are the surest ${list.length} of ${all} such mistakes`
      + ` among ${run().images} images`;
    for (const button of get("matrix").querySelectorAll("button")) {
      button.setAttribute("aria-pressed", button.dataset.pair === `${t},${g}`);
    }
  };

  const choose = (t, g) => {
    [get("true").value, get("given").value] = [t, g];
    limit = AT_ONCE;
    draw();
  };

  const fill = () => {
    const { classes, counts, note } = run();
    for (const name of ["true", "given"]) {
      const totals = classes.map((_, c) => counts.reduce((sum, row, t) => sum
        + row.reduce((inner, n, p) => inner + (t !== p && (name === "true" ? t : p) === c ? n : 0), 0), 0));
      get(name).replaceChildren(make("option", { value: "" }, "any"),
        ...classes.map((label, code) => make("option", { value: code }, `${label} (${totals[code]})`)));
    }
    const most = Math.max(1, ...counts.flatMap((row, t) => row.filter((_, p) => p !== t)));
    const head = make("thead", {}, make("tr", {}, make("td", {}, "true ↓", make("br"), "given →"), ...classes.map((label) => make("th", { scope: "col" }, label))));
    const rows = counts.map((row, t) => make("tr", {}, make("th", { scope: "row" }, classes[t]), ...row.map((n, p) => {
      if (p === t || n === 0) return make("td", {}, p === t ? "·" : "");
      const button = make("button", { type: "button", "data-pair": `${t},${p}`, "aria-label": `${n} ${classes[t]} given ${classes[p]}` }, String(n));
      button.addEventListener("click", () => choose(String(t), String(p)));
      return make("td", { "--v": n / most }, button);
    })));
    get("matrix").replaceChildren(head, make("tbody", {}, ...rows));
    get("matrix-box").hidden = classes.length > 30;
    get("note").hidden = note === "";
    get("note").textContent = note;
    choose("", "");
  };

  const dialog = document.getElementById("large");
  const render = (place) => {
    large = place;
    const mistake = list[place];
    const right = make("div", {}, verdict(mistake, run().names), make("p", { class: "mono" }, `${mistake.id} · ${mistake.lesion}`), probabilities(mistake, 20));
    const parts = [make("div", { class: "layout" }, make("div", { class: "frame" }, picture(source(mistake.picture), words(mistake))), right)];
    if (mistake.near.length) parts.push(make("p", { class: "near-title" }, "Nearest training images, by cosine of the run's features"), nearest(mistake, true));
    dialog.querySelector(".panel-body").replaceChildren(...parts);
    dialog.querySelector(".where").textContent = `${place + 1} of ${list.length}`;
  };
  const openLarge = openPanel(dialog, render, (by) => {
    if (!list[large + by]) return false;
    openLarge(large + by);
    return true;
  });

  get("run").addEventListener("change", fill);
  for (const name of ["true", "given"]) get(name).addEventListener("change", () => choose(get("true").value, get("given").value));
  get("all").addEventListener("click", () => choose("", ""));
  get("more").addEventListener("click", () => { limit += AT_ONCE; draw(); });
  fill();
})();
