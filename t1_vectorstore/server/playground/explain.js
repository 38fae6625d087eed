// Why a hit is there: the sentences of query and thought that pull it up, marked by strength, and listed with figures.

import { byId, h } from "./dom.js";
import { count, parts, signed, slice } from "./text.js";

const LEVELS = 4;
const VISIBLE = 0.005; // an effect below it would be shown as 0.00
const LISTED = 8;

const STOPS = {
  emb_token: "ended by the model",
  end_token: "ended by the model",
  budget: "cut at the budget",
  deadline: "cut at the deadline",
  given: "given",
};

/** Show the query, and an empty thought that grows. Returns a function that appends a piece. */
export function startThought(query) {
  byId("reasoning").hidden = false;
  byId("marked-query").textContent = query;
  byId("marks-note").textContent = "";
  const text = document.createTextNode("");
  byId("thoughts").replaceChildren(h("p", { class: "thought growing" }, text));
  let waiting = "";
  return (piece) => {
    if (!waiting) requestAnimationFrame(() => {
      text.data += waiting;
      waiting = "";
    });
    waiting += piece;
  };
}

/** Show that the thought has stopped growing, such as after Stop. */
export function endThought() {
  for (const thought of byId("thoughts").children) thought.classList.remove("growing");
}

/** Show a result's query and thoughts, with those sentences marked that move a hit; null marks nothing. */
export function showThoughts(result, hit = null, rank = null) {
  const tokens = result.thoughts.reduce((sum, thought) => sum + thought.tokens, 0);
  const speed = tokens && !result.cached && result.timings.embed > 0 ? Math.round(tokens / result.timings.embed) : 0;
  const effects = hit?.explanation?.sentences ?? [];
  const most = Math.max(...effects.map(({ effect }) => effect), VISIBLE);
  byId("marked-query").replaceChildren(...marked(result.query, place(result.query, effects, "query"), most).flat());
  byId("thoughts").replaceChildren(
    ...result.thoughts.map((thought, index) =>
      h("figure", {},
        h("p", { class: "thought" }, thought.text ? marked(thought.text, place(thought.text, effects, "thought", index), most) : "(an empty thought)"),
        h("figcaption", { class: "note" }, `${count(thought.tokens, "token")}, ${STOPS[thought.stop] ?? thought.stop}${speed ? `, ${speed.toLocaleString("en")} tokens/s` : ""}`))),
  );
  if (!result.thoughts.length) byId("thoughts").replaceChildren(h("p", { class: "note" }, notThought(result.decision)));
  const note = byId("marks-note");
  if (!effects.length) note.textContent = "";
  else {
    const pulls = effects.some(({ effect }) => effect >= VISIBLE);
    const pushes = effects.some(({ effect }) => effect <= -VISIBLE);
    const name = h("b", {}, `${rank}. ${hit.id}`);
    note.replaceChildren(pulls ? "Marked: what pulls up " : "No sentence pulls up ", name, pushes ? "; dashed: what pushes it down" : "");
  }
}

function notThought(decision) {
  if (!decision || decision.thought) return "No thought.";
  return `T1 did not think: ${decision.reason}. The score ${decision.score.toFixed(2)} is on the sure side of the threshold ${decision.threshold.toFixed(2)}.`;
}

/** Return the effects of the sentences of this text: the query, or one of several thoughts. */
function place(text, effects, source, index = 0) {
  return effects.filter((one) => one.source === source && (one.thought ?? index) === index && slice(text, one.start, one.end) === one.text);
}

function marked(text, effects, most) {
  return parts(text, effects).map(({ text: part, span }) => {
    if (!span || Math.abs(span.effect) < VISIBLE) return part;
    if (span.effect < 0) return mark(part, { class: "down", title: `pushes it down: ${signed(span.effect)}` });
    const level = Math.max(1, Math.ceil((span.effect / most) * LEVELS));
    return mark(part, { class: `up m${level}`, title: `pulls it up: ${signed(span.effect)}` });
  });
}

/** Mark a sentence without the space around it. */
function mark(text, attributes) {
  const [, before, sentence, after] = /^(\s*)(.*?)(\s*)$/s.exec(text);
  return [before, h("mark", attributes, sentence), after];
}

/** Return a hit's text with its best sentence marked, unless that is all of it. */
export function passage(hit) {
  const best = hit.explanation?.passage;
  const points = Array.from(hit.text).length;
  if (!best || best.end - best.start >= points - 1) return hit.text;
  return parts(hit.text, [best]).map(({ text, span }) => (span ? mark(text, { class: "best", title: "best sentence of this text" }) : text));
}

/** Return the details of a hit: ranks, scores, and each sentence with its effect. */
export function reasons(hit, rank, { asked = true } = {}) {
  const why = hit.explanation;
  const chunk = hit.id === hit.document_id ? "" : `Chunk ${hit.id} of `;
  const place = h("p", { class: "note" }, `${chunk}${chunk ? "document" : "Document"} ${hit.document_id}, characters ${hit.start.toLocaleString("en")} to ${hit.end.toLocaleString("en")}`);
  if (!why) return [asked ? null : h("p", { class: "note" }, "Not explained: turn on Explain in the options, and search again."), place];
  const shown = why.sentences.filter(({ effect }) => Math.abs(effect) >= VISIBLE).sort((a, b) => b.effect - a.effect);
  const most = Math.max(...shown.map(({ effect }) => Math.abs(effect)), VISIBLE);
  const before = why.rank_without_thinking;
  return [
    h("p", {}, `Rank ${rank} with score ${hit.score.toFixed(2)}. Without thinking: ${before ? `rank ${before.toLocaleString("en")}` : "not found"}, score ${why.score_without_thinking.toFixed(2)}.`),
    shown.length
      ? h("table", { class: "effects" },
          h("caption", { class: "hidden" }, "Sentences by their effect on the score"),
          h("thead", { class: "hidden" }, h("tr", {}, ["Effect", "Strength", "Sentence", "Part of"].map((name) => h("th", { scope: "col" }, name)))),
          h("tbody", {}, shown.slice(0, LISTED).map((one) => effectRow(one, most))))
      : h("p", { class: "note" }, "No single sentence changes its score by 0.01 or more."),
    shown.length > LISTED ? h("p", { class: "note" }, `and ${count(shown.length - LISTED, "weaker sentence")}`) : null,
    place,
  ];
}

function effectRow({ source, text, effect }, most) {
  const bar = h("span", { class: effect < 0 ? "bar down" : "bar up" });
  bar.style.setProperty("--part", Math.abs(effect) / most);
  return h("tr", {},
    h("td", { class: "number" }, signed(effect)),
    h("td", { class: "track", "aria-hidden": "true" }, bar),
    h("td", {}, text.trim()),
    h("td", { class: "note" }, source));
}
