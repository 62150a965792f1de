// The table of runs: filters, shows scores of either part, and gets its intervals one run after another.
"use strict";
(() => {
  const table = document.getElementById("runs");
  if (!table) return;
  const find = (id) => document.getElementById(id);
  const intervals = new Map(); // run -> part -> name -> interval
  const rows = () => [...table.tBodies[0].rows];

  const filter = () => {
    let shown = 0;
    for (const row of rows()) {
      row.hidden = !holds(`${row.dataset.id} ${row.textContent}`.toLowerCase(), find("filter").value);
      shown += !row.hidden;
    }
    find("none").hidden = shown > 0;
    find("count").textContent = shown === rows().length ? `${shown} runs` : `${shown} of ${rows().length} runs`;
  };

  const showScores = (row) => {
    const part = find("part").value;
    for (const cell of row.querySelectorAll(".score")) {
      const text = cell.dataset[part];
      cell.dataset.v = text ?? "";
      cell.querySelector("b").textContent = text === undefined ? "–" : score(Number(text));
      cell.querySelector("small").textContent = bracket(intervals.get(row.dataset.id)?.[part]?.[cell.dataset.metric]);
    }
  };

  const showPart = () => {
    rows().forEach(showScores);
    sortable(table);
  };

  /** The first row, as the table stands, without its intervals; those that are shown come first. */
  const next = () => {
    const absent = rows().filter((row) => !intervals.has(row.dataset.id));
    return absent.find((row) => !row.hidden) ?? absent[0];
  };

  const fetchIntervals = async () => {
    for (let row = next(); row; row = next()) {
      const { id } = row.dataset;
      intervals.set(id, await ask(`/api/runs/${encodeURIComponent(id)}`).then((run) => run.intervals, () => ({})));
      showScores(row);
    }
  };

  table.tBodies[0].addEventListener("click", (event) => {
    if (event.target.closest("a") || String(getSelection())) return;
    event.target.closest("tr").querySelector("a").click();
  });
  find("filter").addEventListener("input", filter);
  find("part").addEventListener("change", showPart);
  showPart();
  filter();
  fetchIntervals();
})();
