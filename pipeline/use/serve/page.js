// The functions that served pages share beyond `shared.js`.
"use strict";

/** Ask the server; what is not an answer becomes an Error with a sentence. */
async function ask(path, options = {}) {
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

const bracket = (interval) => (interval && interval.low !== null ? `[${score(interval.low)}, ${score(interval.high)}]` : "");
