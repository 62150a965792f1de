// The leaderboard's filters and marks.
"use strict";
(() => {
  const board = document.getElementById("board");
  const form = document.getElementById("filters");
  const rows = [...board.tBodies[0].rows];
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const field = (name) => document.getElementById(`f-${name}`);
  const ofRun = new Map();
  for (const mark of document.querySelectorAll("#cost [data-run]")) {
    ofRun.set(mark.dataset.run, [...(ofRun.get(mark.dataset.run) ?? []), mark]);
  }

  // A long table begins with its first rows, in whatever order; a button shows the others.
  const AT_FIRST = 25;
  const more = document.getElementById("f-more");
  let whole = rows.length <= AT_FIRST + 5;
  const trim = () => {
    const fitting = [...board.tBodies[0].rows].filter((row) => !row.hidden);
    fitting.forEach((row, place) => row.classList.toggle("beyond", !whole && place >= AT_FIRST));
    more.hidden = whole || fitting.length <= AT_FIRST;
    more.textContent = `Show all ${fitting.length} runs`;
  };
  more.addEventListener("click", () => { whole = true; trim(); });
  board.addEventListener("sorted", trim);

  const show = () => {
    const only = { head: field("head").value, features: field("features").value, cohort: field("data").value };
    let shown = 0;
    for (const row of rows) {
      const fits = holds(words.get(row), field("text").value)
        && Object.entries(only).every(([key, choice]) => choice === "" || row.dataset[key] === choice)
        && (!field("picked").checked || row.classList.contains("picked"));
      row.hidden = !fits;
      shown += fits;
      for (const mark of ofRun.get(row.dataset.run) ?? []) mark.classList.toggle("dim", !fits);
    }
    for (const row of board.tFoot.rows) row.hidden = only.cohort !== "" && row.dataset.cohort !== only.cohort;
    field("count").textContent = `${shown} of ${rows.length} runs`;
    field("none").hidden = shown > 0;
    trim();
  };

  const mark = () => {
    const picked = rows.filter((row) => row.classList.contains("picked"));
    const box = document.getElementById("picked");
    box.hidden = picked.length < 2;
    box.querySelector("span").textContent = `${picked.length} runs are marked.`;
    const quoted = picked.map((row) => `'${row.dataset.id.replaceAll("'", "'\\''")}'`);
    box.querySelector("code").textContent = ["hamcache compare", ...quoted].join(" ");
    show();
  };

  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(show));
  board.addEventListener("change", (event) => {
    const row = event.target.closest("tr");
    row.classList.toggle("picked", event.target.checked);
    for (const dot of ofRun.get(row.dataset.run) ?? []) dot.classList.toggle("picked", event.target.checked);
    mark();
  });
  board.tBodies[0].addEventListener("click", (event) => {
    if (event.target.closest("a, .pick") || String(getSelection())) return;
    event.target.closest("tr").querySelector("a").click();
  });
  show(); // a browser may have kept what was typed before the page was loaded again
})();
