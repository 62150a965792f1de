// The map of the features: one canvas, drawn from the page's own data.
"use strict";
(() => {
  const data = document.getElementById("m-data");
  if (!data) return;
  const maps = JSON.parse(data.textContent);
  const get = (name) => document.getElementById(`m-${name}`);
  const EDGE = 14;
  const NEAR = 12;
  const MOST_ZOOM = 400;
  const canvas = get("canvas");
  const pen = canvas.getContext("2d");
  const card = get("card");
  let map = null;
  let view = { zoom: 1, x: 0, y: 0 };
  let looks = [];
  let hidden = new Set();
  let hovered = -1;
  let kept = -1;
  let found = null;
  let waiting = false;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const shade = (code, count) => (count <= 8 ? colour(`--c${code}`) : `hsl(${(code * 137.5) % 360} 55% ${45 + 12 * (code % 3)}%)`);
  const counted = (one) => one.toLocaleString("en");

  /** For each way to colour: a name, the looks that there are, and the look of each image. */
  const ways = () => [
    { name: "class", looks: map.classes.map((name, code) => ({ name, shade: shade(code, map.classes.length) })), of: map.labels },
    ...(map.partNames.length ? [{ name: "part", of: map.parts,
      looks: map.partNames.map((name, code) => ({ name, shade: code === map.partNames.length - 1 ? colour("--line") : shade([0, 1, 2][code], 8), below: code === map.partNames.length - 1 })) }] : []),
    ...map.runs.map((run) => ({ name: `mistakes of ${run.name}`,
      looks: [{ name: `right (${map.part})`, shade: colour("--c0") }, { name: "wrong", shade: colour("--c5"), above: true }, { name: `not in ${map.part}`, shade: colour("--line"), below: true }],
      of: run.given.map((given, n) => (given < 0 ? 2 : given === map.labels[n] ? 0 : 1)) })),
  ];
  let way = null;

  /** Pixels of the canvas a unit of the map takes, and where the map's upper left corner is. */
  const scale = () => view.zoom * Math.min((canvas.clientWidth - 2 * EDGE) / map.wide, (canvas.clientHeight - 2 * EDGE) / map.high);
  const offset = () => {
    const whole = scale() / view.zoom;
    return [(canvas.clientWidth - map.wide * whole) / 2 - view.x * scale(), (canvas.clientHeight - map.high * whole) / 2 - view.y * scale()];
  };
  const place = (n) => {
    const [left, top] = offset();
    return [left + map.x[n] * scale(), top + (map.high - map.y[n]) * scale()];
  };
  const shown = (n) => !hidden.has(way.of[n]);

  const draw = () => {
    waiting = false;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const [left, top] = offset();
    const by = scale();
    const radius = Math.min(7, Math.max(2, 90 / Math.sqrt(map.x.length)) * Math.sqrt(view.zoom) ** 0.8);
    const count = map.x.length;
    if (get("lesions").checked) {
      pen.strokeStyle = colour("--muted");
      pen.globalAlpha = 0.22;
      pen.lineWidth = 0.8;
      pen.beginPath();
      for (const members of map.lines) {
        const there = members.filter(shown);
        for (let k = 1; k < there.length; k += 1) {
          pen.moveTo(left + map.x[there[k - 1]] * by, top + (map.high - map.y[there[k - 1]]) * by);
          pen.lineTo(left + map.x[there[k]] * by, top + (map.high - map.y[there[k]]) * by);
        }
      }
      pen.stroke();
    }
    for (const code of looks) {
      if (hidden.has(code)) continue;
      const look = way.looks[code];
      pen.globalAlpha = found ? 0.15 : look.below ? 0.6 : 0.8;
      pen.fillStyle = look.shade;
      pen.beginPath();
      for (let n = 0; n < count; n += 1) {
        if (way.of[n] !== code) continue;
        const x = left + map.x[n] * by;
        const y = top + (map.high - map.y[n]) * by;
        if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
        pen.moveTo(x + radius, y);
        pen.arc(x, y, radius, 0, 2 * Math.PI);
      }
      pen.fill();
    }
    pen.globalAlpha = 1;
    const ring = (n, size, line) => {
      const [x, y] = place(n);
      pen.beginPath();
      pen.arc(x, y, size, 0, 2 * Math.PI);
      pen.fillStyle = way.looks[way.of[n]].shade;
      pen.fill();
      pen.lineWidth = line;
      pen.strokeStyle = colour("--ink");
      pen.stroke();
    };
    for (const n of found ?? []) if (shown(n)) ring(n, radius + 1.5, 1.5);
    const here = hovered >= 0 ? hovered : kept;
    if (here >= 0) {
      const members = map.members.get(map.groups[here]);
      if (members.length > 1) {
        pen.strokeStyle = colour("--ink");
        pen.lineWidth = 1.5;
        pen.beginPath();
        members.forEach((n, k) => (k ? pen.lineTo(...place(n)) : pen.moveTo(...place(n))));
        pen.stroke();
        for (const n of members) ring(n, radius + 1, 1.5);
      }
      ring(here, radius + 3, 2.5);
    }
  };
  const again = () => {
    if (!waiting) requestAnimationFrame(draw);
    waiting = true;
  };

  const nearest = (x, y) => {
    let [best, least] = [-1, NEAR * NEAR];
    const [left, top] = offset();
    const by = scale();
    for (let n = 0; n < map.x.length; n += 1) {
      const dx = left + map.x[n] * by - x;
      const dy = top + (map.high - map.y[n]) * by - y;
      const far = dx * dx + dy * dy;
      if (far < least && shown(n)) [best, least] = [n, far];
    }
    return best;
  };

  const sheets = new Map();
  const thumbnail = (n, width) => {
    const place = n % map.onAPage;
    const page = Math.floor(n / map.onAPage);
    const [w, h] = map.cell;
    const box = make("canvas", { role: "img", "aria-label": map.ids[n], width: w, height: h });
    box.style.width = `${width}px`;
    box.style.aspectRatio = `${w} / ${h}`;
    if (!sheets.has(map.pages[page])) {
      const image = new Image();
      image.src = map.pages[page];
      sheets.set(map.pages[page], image.decode().then(() => image));
    }
    sheets.get(map.pages[page]).then((image) => box.getContext("2d")
      .drawImage(image, (place % map.columns) * w, Math.floor(place / map.columns) * h, w, h, 0, 0, w, h), () => {});
    return box;
  };

  const tell = (n) => {
    const lines = [make("b", { text: map.names[map.labels[n]] }), make("span", { class: "mono", text: map.ids[n] }),
      make("span", { class: "mono", text: map.lesions[map.groups[n]] === map.ids[n] ? "" : map.lesions[map.groups[n]] })];
    if (map.partNames.length) lines.push(make("span", { text: map.partNames[map.parts[n]] }));
    for (const run of map.runs) {
      const given = run.given[n];
      if (given >= 0) lines.push(make("span", { class: given === map.labels[n] ? "" : "wrong" }, `${given === map.labels[n] ? "✓" : "✗"} ${map.classes[given]} `, make("small", { text: run.name })));
    }
    const others = map.members.get(map.groups[n]).filter((m) => m !== n);
    const parts = [];
    if (map.pages.length) parts.push(thumbnail(n, 216));
    parts.push(make("p", {}, ...lines));
    if (others.length && map.pages.length) {
      parts.push(make("small", { text: `${others.length} more of this lesion` }), make("div", { class: "map-more" }, ...others.slice(0, 6).map((m) => thumbnail(m, 68))));
    }
    card.replaceChildren(...parts);
  };

  const point = (n) => {
    hovered = n;
    const here = n >= 0 ? n : kept;
    card.hidden = here < 0;
    if (here >= 0) {
      tell(here);
      const [x, y] = place(here);
      const right = x + 26 + card.offsetWidth < canvas.clientWidth;
      card.style.left = `${Math.max(0, right ? x + 18 : x - 18 - card.offsetWidth)}px`;
      card.style.top = `${Math.max(4, Math.min(y - 60, canvas.clientHeight - card.offsetHeight - 8))}px`;
    }
    canvas.style.cursor = n >= 0 ? "pointer" : "";
    again();
  };

  const zoom = (factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) => {
    const [left, top] = offset();
    const [mx, my] = [(x - left) / scale(), (y - top) / scale()];
    view.zoom = Math.min(MOST_ZOOM, Math.max(0.5, view.zoom * factor));
    const [newLeft, newTop] = offset();
    view.x += (newLeft + mx * scale() - x) / scale();
    view.y += (newTop + my * scale() - y) / scale();
    point(-1);
  };
  const whole = () => {
    view = { zoom: 1, x: 0, y: 0 };
    point(-1);
  };

  const legend = () => {
    const counts = way.looks.map(() => 0);
    for (const code of way.of) counts[code] += 1;
    // The rarest last: they are drawn above the others.
    looks = way.looks.map((_, code) => code).sort((a, b) => (way.looks[b].below ?? false) - (way.looks[a].below ?? false)
      || (way.looks[a].above ?? false) - (way.looks[b].above ?? false) || counts[b] - counts[a]);
    get("legend").replaceChildren(...way.looks.map((look, code) => {
      const mark = make("i");
      mark.style.background = look.shade;
      const button = make("button", { type: "button", "aria-pressed": String(!hidden.has(code)), title: map.names[code] !== undefined && way.name === "class" ? map.names[code] : null },
        mark, look.name, make("small", { text: ` ${counted(counts[code])}` }));
      button.addEventListener("click", () => {
        if (!hidden.delete(code)) hidden.add(code);
        legend();
        point(-1);
      });
      return make("li", {}, button);
    }));
    get("count").textContent = `${counted(way.of.filter((code) => !hidden.has(code)).length)} images`
      + (found ? `, ${counted(found.length)} found` : "");
  };

  const search = () => {
    const query = get("find").value.trim().toLowerCase();
    found = query === "" ? null : map.ids.map((_, n) => n).filter((n) => map.ids[n].toLowerCase().includes(query) || map.lesions[map.groups[n]].toLowerCase().includes(query));
    legend();
    again();
  };

  const recolour = () => {
    way = ways()[Number(get("colour").value)];
    hidden = new Set();
    legend();
    point(-1);
  };

  const open = (number) => {
    map = maps[number];
    if (!map.members) {
      map.members = new Map();
      map.groups.forEach((group, n) => (map.members.has(group) ? map.members.get(group).push(n) : map.members.set(group, [n])));
      map.lines = [...map.members.values()].filter((members) => members.length > 1);
      [map.wide, map.high] = [map.x, map.y].map((all) => all.reduce((most, one) => Math.max(most, one), 1));
    }
    [kept, found] = [-1, null];
    get("find").value = "";
    get("about").textContent = `${map.about}.${map.pages.length ? "" : " The page holds no thumbnails."}`;
    get("colour").replaceChildren();
    way = { of: [], looks: [] };
    get("colour").append(...ways().map((one, n) => make("option", { value: n }, one.name)));
    whole();
    recolour();
  };

  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, y: event.clientY, from: { ...view }, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (drag) {
      const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
      drag.moved ||= Math.abs(dx) + Math.abs(dy) > 4;
      if (!drag.moved) return;
      view = { ...view, x: drag.from.x - dx / scale(), y: drag.from.y - dy / scale() };
      point(-1);
      return;
    }
    const n = nearest(event.offsetX, event.offsetY);
    if (n !== hovered) point(n);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved) {
      const n = nearest(event.offsetX, event.offsetY);
      kept = n === kept ? -1 : n;
      point(n);
    }
    drag = null;
  });
  canvas.addEventListener("pointerleave", () => { if (!drag) point(-1); });
  canvas.addEventListener("dblclick", whole);
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;  // else the page scrolls
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 250), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const step = canvas.clientHeight / 8 / scale();
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key === "+" || event.key === "=") zoom(1.4);
    else if (event.key === "-") zoom(1 / 1.4);
    else if (event.key === "0" || event.key === "Escape") { kept = -1; whole(); }
    else if (moves[event.key]) {
      [view.x, view.y] = [view.x + moves[event.key][0], view.y + moves[event.key][1]];
      point(-1);
    } else return;
    event.preventDefault();
  });
  get("in").addEventListener("click", () => zoom(1.6));
  get("out").addEventListener("click", () => zoom(1 / 1.6));
  get("all").addEventListener("click", whole);
  get("lesions").addEventListener("change", again);
  get("find").addEventListener("input", search);
  get("colour").addEventListener("change", recolour);
  get("map")?.addEventListener("change", () => open(Number(get("map").value)));
  new ResizeObserver(again).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  open(0);
})();
