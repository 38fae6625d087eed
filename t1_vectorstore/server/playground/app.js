// The playground of a T1 service: a query, its thought, the hits with and without it, and why each hit is there.

import { apiKey, listIndexes, sampleChunks, search, streamSearch } from "./api.js";
import { initCode, showCode } from "./code.js";
import { initDocuments } from "./documents.js";
import { byId, h, setOpen } from "./dom.js";
import { examplesFor } from "./examples.js";
import { endThought, showThoughts, startThought } from "./explain.js";
import { addCondition, initFilter, learnFields, setFields, setFilter } from "./filters.js";
import { changes, readRequest, readState, refuse, setIndex, writeState } from "./form.js";
import { clearHits, showHits, showPlain, showWaiting } from "./hits.js";
import { showMap } from "./map.js";
import { initTheme, readHash, writeHash } from "./state.js";
import { count, duration } from "./text.js";

const SAMPLE = 5; // chunks that are read for the example queries

let indexes = [];
let running = null; // the abort controller of the search in progress
let example = ""; // the query that was filled in

const chosenIndex = () => indexes.find(({ name }) => name === byId("index").value) ?? null;
const announce = (text) => (byId("status").textContent = text);

// Messages

function showMessage(title, { text = "", actions = [], kind = "failed" } = {}) {
  byId("message").className = `message ${kind}`;
  byId("message").replaceChildren(
    h("p", {}, h("b", {}, title), " ", text),
    ...actions.map(([label, act]) => h("button", { type: "button", class: "quiet", onclick: act }, label)),
  );
}

function clearMessage() {
  byId("message").className = "message";
  byId("message").replaceChildren();
}

function showError(error, again) {
  // A message about an option begins with its name; about a filter, with "the filter".
  const field = error.param ?? (error.status === 400 ? /^(?:the )?(\w+)/.exec(error.message)?.[1] : null);
  if (field && refuse(field, error.message) === null) return;
  const waits = error.status === 429 && error.retryAfter && again;
  showMessage(error.message, { text: waits ? "" : error.remedy, actions: again ? [["Try again", again]] : [] });
  if (error.status === 401) {
    setOpen(byId("key-button"), byId("key-panel"), true);
    byId("key").focus();
  }
  if (waits) countDown(error.retryAfter);
}

/** Keep the button of a message off until the service accepts another attempt. */
function countDown(seconds) {
  const button = byId("message").querySelector("button");
  const until = Date.now() + seconds * 1000;
  const tick = () => {
    if (!button.isConnected) return;
    const left = Math.ceil((until - Date.now()) / 1000);
    button.disabled = left > 0;
    button.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    if (left > 0) setTimeout(tick, 250);
  };
  tick();
}

// The indexes

async function loadIndexes({ again = false } = {}) {
  const before = again ? byId("index").value : (readHash().index ?? byId("index").value);
  try {
    indexes = await listIndexes();
  } catch (error) {
    showError(error, () => start());
    return false;
  }
  const select = byId("index");
  select.replaceChildren(...indexes.map(({ name, points }) => h("option", { value: name, props: { selected: name === before } }, `${name} · ${count(points, "point")}`)));
  select.disabled = indexes.length < 2;
  if (!again) clearMessage();
  await showIndex({ again });
  const known = indexes.some(({ name }) => name === readHash().index);
  if (!indexes.length) showMessage("The service has no index that you may read.", { text: "Start it with one: t1 serve INDEX." });
  else if (readHash().index && !known) showMessage(`There is no index “${readHash().index}” here.`, { text: "Choose another one above." });
  return indexes.length > 0 && (known || !readHash().index);
}

async function showIndex({ again = false } = {}) {
  const index = chosenIndex();
  setIndex(index);
  byId("documents").hidden = !index?.writable;
  byId("documents").classList.toggle("first", index?.points === 0);
  byId("model").textContent = index ? `${index.model} · ${index.dimension} dimensions` : "";
  if (!index) return;
  if (!again) setFields(index.fields ?? {});
  if (index.points === 0) {
    byId("examples").hidden = true;
    const how = index.writable ? "Add some below, or with t1 index." : "Add some with t1 index.";
    showMessage(`The index “${index.name}” has no documents yet.`, { text: how, kind: "hint" });
    return;
  }
  try {
    const chunks = await sampleChunks(index.name, SAMPLE);
    if (chosenIndex() !== index) return; // another was chosen meanwhile
    learnFields(chunks.map(({ metadata }) => metadata));
    showExamples(examplesFor(chunks));
  } catch {
    byId("examples").hidden = true; // examples are a courtesy; a search will say what is wrong
  }
}

function showExamples(queries) {
  const button = (query) => h("button", { type: "button", class: "example", title: query, onclick: () => ask(query) }, query);
  byId("examples").replaceChildren(h("span", { class: "note" }, "Try"), ...queries.map(button));
  byId("examples").hidden = !queries.length;
  const query = byId("query");
  if (queries.length && (!query.value || query.value === example)) {
    query.value = example = queries[0];
    fitQuery();
    if (matchMedia("(pointer: fine)").matches && document.activeElement === document.body) query.focus({ preventScroll: true });
    if (document.activeElement === query) query.select(); // typing replaces the example, Enter searches it
  }
}

function ask(query) {
  byId("query").value = query;
  fitQuery();
  run();
}

// The search

async function run({ remember = true } = {}) {
  running?.abort();
  clearMessage();
  const request = readRequest();
  if (!request) return;
  if (remember) writeHash({ ...readState(), index: indexes.length > 1 ? byId("index").value : "" });
  const abort = (running = new AbortController());
  const { body, plain, think } = request;
  document.body.classList.add("searched");
  setRunning(true);
  showMap(null);
  byId("figures").replaceChildren();
  byId("code").hidden = true;
  announce(think === "off" ? "Searching" : "T1 is thinking");
  showWaiting(body.limit, { thinking: plain !== null });
  byId("reasoning").hidden = plain === null;
  const started = performance.now();
  let plainResult = null;
  try {
    const add = plain ? startThought(body.query) : () => {};
    // The search without thinking is quick, so its hits are there while the thought is read.
    const comparing = plain ? search(plain, abort.signal).then((found) => {
      plainResult = found;
      if (running === abort) showPlain(found);
    }) : null;
    comparing?.catch(() => {}); // reported below, or by the main search
    const result = await (plain ? streamSearch(body, abort.signal, add) : search(body, abort.signal));
    const seconds = (performance.now() - started) / 1000;
    await comparing;
    if (running === abort) showResult(request, result, plainResult, seconds);
  } catch (error) {
    if (running !== abort) return;
    endThought();
    clearHits();
    byId("reasoning").hidden = !byId("thoughts").textContent;
    if (plainResult && error.name === "AbortError") {
      showMessage("Stopped.", { text: "These are the hits without thinking.", kind: "hint", actions: [["Search again", () => run()]] });
      byId("marks-note").textContent = "";
      showHits(plainResult, null, { ...listeners(plainResult, false), title: "Without thinking" });
    } else if (error.name === "AbortError") showMessage("Stopped.", { kind: "hint", actions: [["Search again", () => run()]] });
    else showError(error, () => run());
    announce(error.name === "AbortError" ? "Stopped" : "");
  } finally {
    if (running === abort) {
      running = null;
      setRunning(false);
    }
    abort.abort(); // whatever still runs of this search
  }
}

function setRunning(active) {
  byId("stop").hidden = !active;
  byId("go").hidden = active;
  byId("answer").setAttribute("aria-busy", String(active));
}

function showResult({ body, plain }, result, plainResult, seconds) {
  const thought = result.thoughts.length > 0;
  byId("reasoning").hidden = !thought && !result.decision && !result.map && !body.explain;
  byId("thought-title").textContent = result.thoughts.length > 1 ? "Thoughts" : thought || result.decision ? "Thought" : "Query";
  const compared = plain && thought ? plainResult : null;
  const on = listeners(result, Boolean(body.explain));
  showHits(result, compared, { ...on, title: compared ? "With the thought" : thought ? "Hits" : "Without thinking" });
  on.preview(null, null);
  showFigures(result, plainResult, seconds);
  showMap(result);
  showCode(body, result, apiKey.get() !== "");
  learnFields(result.hits.map(({ metadata }) => metadata));
  const notes = [...(result.warnings ?? [])];
  if (result.truncated) notes.push(`The query has ${count(result.truncated.total_tokens, "token")}, and the model did not read the last ${result.truncated.dropped_tokens}.`);
  if (result.hits.length) {
    if (notes.length) showMessage("Note.", { text: notes.join(" "), kind: "hint" });
  } else nothingFound(body, notes);
  const said = result.thoughts[0]?.text ? `Thought: ${result.thoughts[0].text} ` : "";
  announce(`${said}${count(result.hits.length, "hit")}${result.hits.length ? `, the first is ${result.hits[0].id}` : ""}.`);
}

function nothingFound(body, notes) {
  const empty = chosenIndex()?.points === 0;
  const text = empty ? "The index has no documents yet." : body.filter ? "No document passes the filter." : "Try other words.";
  const remove = ["Search without the filter", () => {
    setFilter(null);
    run();
  }];
  showMessage("Nothing found.", { text: [text, ...notes].join(" "), kind: "hint", actions: body.filter ? [remove] : [] });
}

/** What the lists call: marks follow the hit that is looked at, else the opened one, else the first. */
function listeners(result, explained) {
  let pinned = result.hits.length ? [result.hits[0], 1] : [null, null];
  const show = (hit, rank) => {
    showThoughts(result, hit, rank);
    for (const mark of byId("map-drawing").querySelectorAll("[data-id]")) mark.classList.toggle("lit", mark.dataset.id === hit?.id);
  };
  return {
    explained,
    preview: (hit, rank) => (hit ? show(hit, rank) : show(...pinned)),
    pin: (hit, rank) => {
      pinned = [hit, rank];
      show(hit, rank);
    },
    filter: (field, value) => {
      addCondition(field, value);
      run();
    },
  };
}

function showFigures(result, plain, seconds) {
  const { embed, search: find } = result.timings;
  const tokens = result.thoughts.reduce((sum, thought) => sum + thought.tokens, 0);
  const figures = [
    [tokens ? "think and embed" : "embed", duration(embed)],
    ["search", duration(find)],
    ["round trip", duration(seconds)],
    plain && tokens ? ["without thinking", duration(plain.timings.total)] : null,
    result.cached ? ["from", "the cache"] : null,
  ].filter(Boolean);
  byId("figures").replaceChildren(...figures.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

// The controls

function fitQuery() {
  const query = byId("query");
  query.style.height = "auto";
  query.style.height = `${query.scrollHeight + 2}px`;
}

function showChanges() {
  const found = changes();
  for (const [name, number] of Object.entries(found)) byId(`${name}-button`).querySelector(".count").textContent = number ? ` ${number}` : "";
}

function initControls() {
  for (const [button, panel] of [["options-button", "options"], ["filter-button", "filter"], ["key-button", "key-panel"]]) {
    byId(button).addEventListener("click", () => {
      setOpen(byId(button), byId(panel), byId(panel).hidden);
      if (panel === "key-panel" && !byId(panel).hidden) byId("key").focus();
    });
  }
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  byId("search").addEventListener("input", showChanges);
  byId("stop").addEventListener("click", () => running?.abort());
  byId("query").addEventListener("input", fitQuery);
  byId("query").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    run();
  });
  byId("index").addEventListener("change", () => {
    clearMessage();
    clearHits();
    byId("reasoning").hidden = byId("code").hidden = true;
    setFilter(null);
    showIndex();
  });
  addEventListener("resize", fitQuery);
  const wide = matchMedia("(min-width: 720px)");
  const placeMap = () => byId(wide.matches ? "reasoning" : "answer").append(byId("map-section")); // on a phone after the hits
  wide.addEventListener("change", placeMap);
  placeMap();
}

function initKey() {
  const use = (key) => {
    apiKey.set(key);
    byId("key").value = "";
    byId("key-button").textContent = key ? "API key set" : "API key";
    start();
  };
  byId("key-panel").addEventListener("submit", (event) => {
    event.preventDefault();
    setOpen(byId("key-button"), byId("key-panel"), false);
    use(byId("key").value.trim());
  });
  byId("key-forget").addEventListener("click", () => use(""));
  if (apiKey.get()) byId("key-button").textContent = "API key set";
}

function initKeyboard() {
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      byId("query").focus();
      byId("query").select();
    } else if (event.key === "Escape" && running) {
      event.preventDefault();
      running.abort();
    }
  });
}

/** Read the indexes, and repeat the search that the address describes. */
async function start() {
  const state = readHash();
  if (state.q !== undefined) writeState(state);
  fitQuery();
  const ready = await loadIndexes();
  showChanges();
  if (ready && state.q) run({ remember: false });
}

initTheme(byId("theme"));
initFilter(showChanges);
initControls();
initKey();
initKeyboard();
initCode();
initDocuments({
  index: chosenIndex,
  failed: (error) => showError(error),
  done: () => {
    if (byId("message").classList.contains("hint")) clearMessage(); // such as: no documents yet
    loadIndexes({ again: true });
  },
});
addEventListener("popstate", start);
start();
