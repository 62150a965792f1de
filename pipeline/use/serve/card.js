// One image and what a run says of it.

import { element, percent } from "./page.js";

const MOST_BARS = 8;

/** "Melanoma"; of a name with an explanation in brackets only what stands before it. */
export function shortName(name) {
  return name.replace(/\s*\([^()]*\)\s*$/, "") || name;
}

/** "A", "A or B", "A, B or C". */
export function either(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

/** Make a card that waits for its answer. `image`: `{name, url}`; `onRemove` is called when it is taken away. */
export function waitingCard(image, run, onRemove) {
  const picture = element("img", { alt: `The image ${image.name}`, src: image.url });
  const frame = element("div", { class: "picture" }, picture);
  picture.addEventListener("error", () => {
    frame.replaceChildren(element("span", { class: "no-picture", text: "no preview" }));
  });
  const body = element("div", { class: "card-body" }, element("p", { class: "waiting", text: "Waiting …" }));
  const remove = element("button", { type: "button", class: "remove", "aria-label": `Remove ${image.name}` }, "×");
  const card = element(
    "article",
    { class: "card", "aria-label": image.name },
    element(
      "header",
      { class: "card-head" },
      element("h3", { text: image.name, title: image.name }),
      element("span", { class: "by", text: run.words, title: run.id }),
      remove,
    ),
    element("div", { class: "card-main" }, frame, body),
  );
  remove.addEventListener("click", () => {
    card.remove();
    onRemove();
  });
  return card;
}

export function setWaiting(card, sentence) {
  card.querySelector(".card-body").replaceChildren(
    element("p", { class: "waiting" }, element("span", { class: "spinner", "aria-hidden": "true" }), sentence),
  );
}

export function setError(card, sentence) {
  card.classList.add("failed");
  card
    .querySelector(".card-body")
    .replaceChildren(element("p", { class: "message bad" }, element("strong", { text: "This image could not be used: " }), `${sentence.replace(/\.$/, "")}.`));
}

/** Fill a card with a prediction. `names`: class -> readable name. */
export function setPrediction(card, prediction, names, runId) {
  const best = prediction.label;
  const body = card.querySelector(".card-body");
  const order = Object.keys(prediction.probabilities).sort(
    (a, b) => prediction.probabilities[b] - prediction.probabilities[a] || (a === best ? -1 : b === best ? 1 : 0),
  );
  body.replaceChildren(
    ...unlikeBadge(prediction),
    element(
      "p",
      { class: prediction.unlike ? "answer guess" : "answer" },
      element("strong", { text: shortName(names.get(best)) }),
      element("span", { class: "answer-p", text: percent(prediction.probabilities[best]) }),
    ),
    ...truth(prediction, names),
    element("p", { class: "set" }),
    bars(order, prediction, names),
    ...familiar(prediction),
  );
  const near = neighbours(prediction, names, runId);
  if (near) card.append(near);
}

/** Show another prediction set in a card that has its prediction. */
export function setSet(card, prediction, number, choice, names) {
  const inside = prediction.sets[number];
  const words = inside.map((label) => shortName(names.get(label)));
  const sentence = card.querySelector(".set");
  sentence.replaceChildren(
    element("span", { class: "set-size", text: inside.length === 1 ? "One class" : `${inside.length} classes` }),
    ` at ${Math.round(100 * choice.coverage)}\u00a0% coverage: `,
    element("b", { text: either(words) }),
    ".",
  );
  for (const row of card.querySelectorAll(".bar")) {
    const isIn = inside.includes(row.dataset.label);
    row.classList.toggle("in", isIn);
    row.querySelector(".mark").textContent = isIn ? "in the set" : "";
  }
  const known = card.querySelector(".truth-set");
  if (known) known.textContent = inside.includes(prediction.true_label) ? "It is in the set." : "It is not in the set.";
}

function unlikeBadge(prediction) {
  if (!prediction.unlike) return [];
  return [
    element(
      "div",
      { class: "unlike" },
      element("strong", { text: "Unlike anything seen in training" }),
      element("span", {
        text:
          `At most ${percent(prediction.unlike_p).replace("< ", "")} of the validation images are as far from the training ` +
          "images as this one, so what the run says of such images was hardly ever checked. Do not rely on it.",
      }),
    ),
  ];
}

function familiar(prediction) {
  if (prediction.unlike !== false) return [];
  return [
    element("p", {
      class: "familiar",
      text: `About ${percent(prediction.unlike_p)} of the validation images are as unusual as this one, or more so.`,
    }),
  ];
}

function truth(prediction, names) {
  if (!prediction.true_label) return [];
  const right = prediction.true_label === prediction.label;
  return [
    element(
      "p",
      { class: right ? "truth right" : "truth wrong" },
      "Its label in the data set: ",
      element("b", { text: shortName(names.get(prediction.true_label) ?? prediction.true_label) }),
      right ? " – the same. " : " – another one. ",
      element("span", { class: "truth-set" }),
    ),
  ];
}

function bars(order, prediction, names) {
  const list = element("ul", { class: "bars", "aria-label": "Probabilities" });
  const rows = order.map((label) => {
    const p = prediction.probabilities[label];
    const name = names.get(label);
    const fill = element("span", { class: "fill" });
    fill.style.width = `${Math.max(100 * p, 0.4)}%`;
    return element(
      "li",
      { class: "bar", "data-label": label, "data-p": p },
      element(
        "span",
        { class: "bar-name", title: name },
        element("span", { class: "name", text: shortName(name) }),
        name !== label ? element("small", { text: label }) : null,
      ),
      element("span", { class: "mark" }),
      element("span", { class: "bar-p", text: percent(p) }),
      element("span", { class: "track", "aria-hidden": "true" }, fill),
    );
  });
  list.append(...rows.slice(0, MOST_BARS));
  if (rows.length <= MOST_BARS) return list;
  const rest = element("ul", { class: "bars" });
  rest.append(...rows.slice(MOST_BARS));
  return element("div", {}, list, element("details", {}, element("summary", { text: `${rows.length - MOST_BARS} further classes` }), rest));
}

function neighbours(prediction, names, runId) {
  if (!prediction.neighbours.length) return null;
  const same = prediction.neighbours.filter((near) => near.label === prediction.label).length;
  const list = element("ul", { class: "near-list" });
  for (const near of prediction.neighbours) {
    const address = `/api/runs/${encodeURIComponent(runId)}/images/${encodeURIComponent(near.image_id)}`;
    const picture = element("img", { src: address, alt: "", loading: "lazy" });
    picture.addEventListener("error", () => picture.replaceWith(element("span", { class: "no-picture", text: "image not here" })));
    list.append(
      element(
        "li",
        { class: near.label === prediction.label ? "near same" : "near" },
        picture,
        element("b", { text: shortName(names.get(near.label) ?? near.label) }),
        element("span", { text: `similarity ${near.similarity.toFixed(2)}` }),
        element("small", { text: near.image_id, title: near.image_id }),
      ),
    );
  }
  return element(
    "section",
    { class: "near-part", "aria-label": "Nearest training images" },
    element(
      "h4",
      {},
      "Nearest training images",
      element("span", { text: `${same} of ${prediction.neighbours.length} ${same === 1 ? "is" : "are"} of the class that the run names` }),
    ),
    list,
  );
}
