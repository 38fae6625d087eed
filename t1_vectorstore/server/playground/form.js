// The search form: reads it into a request, and writes a remembered search into it.

import { byId } from "./dom.js";
import { readFilter, setFilter, showError as showFilterError } from "./filters.js";

const NUMBERS = { budget: [0, 1_000_000], samples: [1, 16], limit: [1, 100] };
const MOST_EXPLAINED = 50; // hits that the service explains
const CHECKS = { hybrid: true, group: false, explain: true, map: true }; // with their defaults
const LIMIT = 10;

let index = null; // the chosen one, as the service describes it
let choseThinking = false; // otherwise the index's model decides

document.getElementById("search").addEventListener("change", ({ target }) => {
  if (target.name === "think") choseThinking = true;
});

/** Show what an index can do. */
export function setIndex(chosen) {
  index = chosen;
  byId("hybrid").closest("label").hidden = !chosen?.hybrid;
  const thinks = chosen?.thinks !== false;
  byId("think-note").textContent = thinks ? "" : `${chosen.model} was not trained to think.`;
  for (const value of ["on", "auto"]) thinkButton(value).disabled = !thinks;
  if (!thinks) thinkButton("off").checked = true;
  else if (!choseThinking) thinkButton(usualThinking()).checked = true;
}

const thinkButton = (value) => document.querySelector(`input[name="think"][value="${CSS.escape(value)}"]`);
const usualThinking = () => (index?.think_by_default === false ? "off" : "on");

const thinking = () => document.querySelector('input[name="think"]:checked').value;

/** Return the form as an object of strings; defaults are empty. */
export function readState() {
  const state = { q: byId("query").value, think: choseThinking ? thinking() : "" };
  for (const name of Object.keys(NUMBERS)) state[name] = byId(name).value.trim();
  for (const [name, usual] of Object.entries(CHECKS)) state[name] = byId(name).checked === usual ? "" : String(Number(!usual));
  try {
    const filter = readFilter();
    state.filter = filter ? JSON.stringify(filter) : "";
  } catch {
    state.filter = "";
  }
  return state;
}

/** Write what `readState` returned into the form. */
export function writeState(state) {
  byId("query").value = state.q ?? "";
  const think = thinkButton(state.think || usualThinking());
  choseThinking = Boolean(state.think && think);
  if (think && !think.disabled) think.checked = true;
  for (const name of Object.keys(NUMBERS)) byId(name).value = state[name] ?? "";
  for (const [name, usual] of Object.entries(CHECKS)) byId(name).checked = state[name] ? state[name] === "1" : usual;
  try {
    setFilter(state.filter ? JSON.parse(state.filter) : null);
  } catch {
    setFilter(null);
  }
}

/** Return how many options differ from their defaults, and whether there is a filter. */
export function changes() {
  const state = readState();
  return { options: [...Object.keys(NUMBERS), ...Object.keys(CHECKS)].filter((name) => state[name]).length, filter: state.filter ? 1 : 0 };
}

/**
 * Return the request, or null if a field is wrong, after saying so at the field.
 * @returns `{think, body, plain}`: the request, and the same search without thinking.
 */
export function readRequest() {
  clearErrors();
  const query = byId("query").value.trim();
  if (!query) return refuse("query", "Type a query first.");
  const think = thinking();
  const numbers = {};
  for (const [name, [least, usualMost]] of Object.entries(NUMBERS)) {
    const explained = name === "limit" && byId("explain").checked;
    const most = explained ? MOST_EXPLAINED : usualMost;
    const text = byId(name).value.trim();
    if (!text) continue;
    const number = Number(text);
    if (!Number.isInteger(number) || number < least || number > most) {
      const beyond = explained ? `, or to ${usualMost} without Explain` : "";
      return refuse(name, `A whole number from ${least} to ${most.toLocaleString("en")}${beyond}, not “${text}”.`);
    }
    numbers[name] = number;
  }
  let filter;
  try {
    filter = readFilter();
  } catch (error) {
    return refuse("filter", error.message, error.element);
  }
  const shared = {
    ...(index ? { index: index.name } : {}),
    query,
    limit: numbers.limit ?? LIMIT,
    ...(filter ? { filter } : {}),
    ...(index?.hybrid ? { hybrid: byId("hybrid").checked } : {}),
    ...(byId("group").checked ? { group: true } : {}),
  };
  const extras = Object.fromEntries(["explain", "map"].filter((name) => byId(name).checked).map((name) => [name, true]));
  const plain = { ...shared, think: false };
  if (think === "off") return { think, body: { ...plain, ...extras }, plain: null };
  const thought = Object.fromEntries(["budget", "samples"].filter((name) => name in numbers).map((name) => [name, numbers[name]]));
  return { think, body: { ...shared, think: think === "auto" ? "auto" : true, ...thought, ...extras }, plain };
}

function clearErrors() {
  showFilterError("");
  for (const name of ["query", ...Object.keys(NUMBERS)]) {
    byId(name).removeAttribute("aria-invalid");
    byId(`${name}-error`).textContent = "";
  }
}

/** Say at a field what is wrong with it. Returns null, and false if the form has no such field. */
export function refuse(name, message, element = null) {
  const field = String(name ?? "").split(".").at(-1);
  if (String(name ?? "").split(".").includes("filter")) {
    openPanel("filter");
    showFilterError(message, element);
    return null;
  }
  if (field !== "query" && !(field in NUMBERS)) return false;
  if (field !== "query") openPanel("options");
  byId(field).setAttribute("aria-invalid", "true");
  byId(`${field}-error`).textContent = message;
  byId(field).focus();
  return null;
}

function openPanel(name) {
  if (byId(name).hidden) byId(`${name}-button`).click();
}
