// One image and the answer of a run.
"use strict";

const MOST_BARS = 8;

/** "Melanoma"; of a name with an explanation in brackets only what stands before it. */
function shortName(name) {
  return name.replace(/\s*\([^()]*\)\s*$/, "") || name;
}

/** "A", "A or B", "A, B or C". */
function either(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

/** Make a card that waits for its answer. `image`: `{name, url}`; `onRemove` is called when it is taken away. */
function waitingCard(image, run, onRemove) {
  const frame = make("div", { class: "picture" }, picture(image.url, `The image ${image.name}`, "no preview"));
  const body = make("div", { class: "card-body" }, make("p", { class: "waiting", text: "Waiting …" }));
  const remove = make("button", { type: "button", class: "remove", "aria-label": `Remove ${image.name}` }, "×");
  const card = make(
    "article",
    { class: "card", "aria-label": image.name },
    make(
      "header",
      { class: "card-head" },
      make("h3", { text: image.name, title: image.name }),
      make("span", { class: "by", text: run.words, title: run.id }),
      remove,
    ),
    make("div", { class: "card-main" }, frame, body),
  );
  remove.addEventListener("click", () => {
    card.remove();
    onRemove();
  });
  return card;
}

function setWaiting(card, sentence) {
  card.querySelector(".card-body").replaceChildren(
    make("p", { class: "waiting" }, make("span", { class: "spinner", "aria-hidden": "true" }), sentence),
  );
}

function setError(card, sentence) {
  card.classList.add("failed");
  card
    .querySelector(".card-body")
    .replaceChildren(make("p", { class: "message" }, make("strong", { text: "This image could not be used: " }), `${sentence.replace(/\.$/, "")}.`));
}

/** Fill a card with a prediction. `names`: class -> readable name. */
function setPrediction(card, prediction, names, runId) {
  const best = prediction.label;
  const body = card.querySelector(".card-body");
  const order = Object.keys(prediction.probabilities).sort(
    (a, b) => prediction.probabilities[b] - prediction.probabilities[a] || (a === best ? -1 : b === best ? 1 : 0),
  );
  body.replaceChildren(
    ...unlikeBadge(prediction),
    make(
      "p",
      { class: prediction.unlike ? "answer guess" : "answer" },
      make("strong", { text: shortName(names.get(best)) }),
      make("span", { class: "answer-p", text: percent(prediction.probabilities[best]) }),
    ),
    ...truth(prediction, names),
    make("p", { class: "set" }),
    ...probabilities(order, prediction, names),
    ...familiar(prediction),
  );
  card.append(...nearest(prediction, names, runId));
}

/** Show another prediction set in a card that has its prediction. */
function setSet(card, prediction, number, choice, names) {
  const inside = prediction.sets[number];
  const words = inside.map((label) => shortName(names.get(label)));
  const sentence = card.querySelector(".set");
  sentence.replaceChildren(
    make("span", { class: "set-size", text: inside.length === 1 ? "One class" : `${inside.length} classes` }),
    ` at ${Math.round(100 * choice.coverage)}\u00a0% coverage: `,
    make("b", { text: either(words) }),
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
    make(
      "div",
      { class: "unlike message" },
      make("strong", { text: "Unlike anything seen in training" }),
      make("span", {
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
    make("p", {
      class: "familiar",
      text: `About ${percent(prediction.unlike_p)} of the validation images are as unusual as this one, or more so.`,
    }),
  ];
}

function truth(prediction, names) {
  if (!prediction.true_label) return [];
  const right = prediction.true_label === prediction.label;
  return [
    make(
      "p",
      { class: right ? "truth right" : "truth wrong" },
      "Its label in the data set: ",
      make("b", { text: shortName(names.get(prediction.true_label) ?? prediction.true_label) }),
      right ? " – the same. " : " – another one. ",
      make("span", { class: "truth-set" }),
    ),
  ];
}

function probabilities(order, prediction, names) {
  const rows = order.map((label) => {
    const name = names.get(label);
    return { label, name: shortName(name), code: name === label ? null : label, p: prediction.probabilities[label], look: "" };
  });
  const first = bars(rows.slice(0, MOST_BARS));
  if (rows.length <= MOST_BARS) return [first];
  return [first, make("details", { class: "plain" }, make("summary", { text: `${rows.length - MOST_BARS} further classes` }), bars(rows.slice(MOST_BARS)))];
}

function nearest(prediction, names, runId) {
  if (!prediction.neighbours.length) return [];
  const same = prediction.neighbours.filter((near) => near.label === prediction.label).length;
  const entries = prediction.neighbours.map((near) => ({
    source: `/api/runs/${encodeURIComponent(runId)}/images/${encodeURIComponent(near.image_id)}`,
    id: near.image_id,
    label: shortName(names.get(near.label) ?? near.label),
    similarity: near.similarity,
    look: near.label === prediction.label ? "is" : "",
  }));
  const words = `${same} of ${entries.length} ${same === 1 ? "is" : "are"} of the class that the run names`;
  return [make("p", { class: "near-title" }, make("b", { text: "Nearest training images" }), `, by similarity: ${words}`), neighbours(entries, true)];
}
