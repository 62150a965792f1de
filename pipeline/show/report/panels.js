// A run's details in a panel, the tips of charts, and the contents list's present place.
"use strict";
const openPanel = (dialog, render, step) => {
  // `render` fills the panel; `step(by)` moves to a neighbour and returns whether there was one.
  const key = (event) => {
    if (event.target.closest("input, select, textarea")) return;
    if (event.key === "ArrowLeft" && step(-1)) event.preventDefault();
    if (event.key === "ArrowRight" && step(1)) event.preventDefault();
  };
  dialog.addEventListener("keydown", key);
  dialog.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (event.target === dialog || button?.hasAttribute("data-close")) dialog.close();
    else if (button?.dataset.step) step(Number(button.dataset.step));
  });
  return (...what) => {
    render(...what);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  };
};

(() => {
  const dialog = document.getElementById("panel");
  const body = dialog.querySelector(".panel-body");
  const store = document.getElementById("articles");
  let shown = null;

  const order = () => [...document.getElementById("board").tBodies[0].rows]
    .filter((row) => !row.hidden && document.getElementById(row.dataset.run)?.matches(".run"))
    .map((row) => row.dataset.run);

  const putBack = () => {
    if (shown) store.append(shown);
    shown = null;
  };

  const render = (article) => {
    if (article === shown) return;
    putBack();
    shown = article;
    body.append(article);
    const runs = order();
    const place = runs.indexOf(article.id);
    dialog.querySelector(".where").textContent = place < 0 ? "" : `${place + 1} of ${runs.length} in the table`;
    dialog.setAttribute("aria-label", article.querySelector("h3").textContent);
  };

  const step = (by) => {
    const runs = order();
    const next = runs[runs.indexOf(shown?.id) + by];
    if (!next) return false;
    history.replaceState(null, "", `#${next}`);
    open(document.getElementById(next));
    return true;
  };

  const open = openPanel(dialog, render, step);
  const follow = () => {
    const article = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (article?.matches(".run")) open(article);
    else if (dialog.open) dialog.close();
  };
  dialog.addEventListener("close", () => {
    putBack();
    if (location.hash.startsWith("#run-")) history.replaceState(null, "", location.pathname + location.search);
  });
  addEventListener("hashchange", follow);
  document.addEventListener("click", (event) => {
    // A link to the run that the address names already changes no address.
    const link = event.target.closest('a[href^="#run-"]');
    if (link && link.hash === location.hash) follow();
  });
  follow();

  const tip = document.getElementById("tip");
  let over = null;
  const place = () => {
    if (!over) return;
    const at = over.getBoundingClientRect();
    const left = Math.min(Math.max(at.left + at.width / 2 - tip.offsetWidth / 2, 8), innerWidth - tip.offsetWidth - 8);
    const above = at.top - tip.offsetHeight - 10;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 8 ? above : at.bottom + 10}px`;
  };
  const say = (event) => {
    const mark = event.target.closest?.("[data-tip]") ?? null;
    if (mark === over) return;
    over = mark;
    tip.hidden = !mark;
    for (const one of document.querySelectorAll(".whisker.on")) one.classList.remove("on");
    if (!mark) return;
    tip.textContent = mark.dataset.tip;
    place();
    const run = CSS.escape(mark.dataset.run ?? "");
    for (const one of mark.closest(".plot").querySelectorAll(`.whisker[data-run="${run}"]`)) one.classList.add("on");
  };
  for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, say);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
  addEventListener("scroll", place, { passive: true });

  const nav = document.querySelector(".masthead nav");
  const links = new Map([...document.querySelectorAll(".masthead li a")].map((link) => [link.hash.slice(1), link]));
  const inView = new Set();
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) inView[entry.isIntersecting ? "add" : "delete"](entry.target.id);
    const first = [...links.keys()].find((id) => inView.has(id));
    for (const [id, link] of links) {
      link.toggleAttribute("aria-current", id === first);
      if (id === first) nav.scrollLeft = link.offsetLeft - nav.offsetLeft - 24;
    }
  }, { rootMargin: "-20% 0px -70%" });
  for (const id of links.keys()) watch.observe(document.getElementById(id));
})();
