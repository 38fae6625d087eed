// The filter: conditions in a form, or the service's own JSON. Both describe one object, which the request contains.

import { byId, h } from "./dom.js";

const OPERATORS = {
  is: { label: "is", make: (value) => value },
  ne: { label: "is not", make: (value) => ({ ne: value }) },
  in: { label: "is one of", many: true, make: (values) => values },
  gte: { label: "at least", ordered: true, make: (value) => ({ gte: value }) },
  lte: { label: "at most", ordered: true, make: (value) => ({ lte: value }) },
  text: { label: "has the words", words: true, make: (value) => ({ text: value }) },
  none: { label: "is missing", bare: true, make: () => null },
};
const BY_KIND = {
  keyword: ["is", "ne", "in", "text", "none"],
  text: ["text", "is", "ne", "none"],
  bool: ["is", "ne", "none"],
  integer: ["is", "ne", "in", "gte", "lte", "none"],
  float: ["is", "ne", "in", "gte", "lte", "none"],
  datetime: ["is", "gte", "lte", "none"],
};

let kinds = {}; // of the fields that the index or its documents have
let rows = []; // [{field, operator, value}] as typed
let asJson = false;
let changed = () => {};

/** Prepare the form; `onChange` is called after each change. */
export function initFilter(onChange) {
  changed = onChange;
  byId("add-condition").addEventListener("click", () => addCondition());
  byId("filter-clear").addEventListener("click", () => setFilter(null));
  byId("filter-mode").addEventListener("click", switchMode);
  byId("filter-text").addEventListener("input", () => {
    showError("");
    changed();
  });
  draw();
}

/** Set the fields of the index, `{name: kind}`. */
export function setFields(fields) {
  kinds = { ...fields };
  drawFields();
}

/** Add the fields that documents have, with kinds by their values. */
export function learnFields(metadatas) {
  for (const metadata of metadatas) {
    for (const [name, value] of Object.entries(metadata ?? {})) {
      const sample = Array.isArray(value) ? value[0] : value;
      if (!(name in kinds) && ["string", "number", "boolean"].includes(typeof sample) && !/[.[\]"]/.test(name)) {
        kinds[name] = { string: "keyword", boolean: "bool" }[typeof sample] ?? (Number.isInteger(sample) ? "integer" : "float");
      }
    }
  }
  drawFields();
}

/** Add a condition, such as the one that a click on a hit's metadata means. */
export function addCondition(field = "", value = "") {
  if (asJson) {
    const filter = field ? { ...(readJson() ?? {}), [field]: value } : {};
    byId("filter-text").value = JSON.stringify(filter, null, 2);
  } else {
    rows = rows.filter((row) => row.field !== "" && (row.field !== field || row.operator !== "is"));
    rows.push({ field, operator: "is", value: String(value) });
    draw();
    if (!field) byId("conditions").lastElementChild.querySelector("input").focus();
  }
  changed();
}

/**
 * Return the filter, or null if there is none.
 * @throws {Error} With a message for people; `element` is the field to show it at.
 */
export function readFilter() {
  if (asJson) return readJson();
  const filter = {};
  for (const [index, row] of rows.entries()) {
    if (!row.field && !row.value) continue;
    const item = byId("conditions").children[index];
    const fail = (name, message) => {
      throw Object.assign(new Error(message), { element: item.querySelector(`[name="${name}"]`) });
    };
    if (!row.field) fail("field", "A condition needs the name of a field.");
    const operator = OPERATORS[row.operator];
    let made;
    if (operator.bare) made = null;
    else if (row.value.trim() === "") fail("value", `The condition on “${row.field}” needs a value.`);
    else {
      const texts = operator.many ? row.value.split(",").map((text) => text.trim()).filter(Boolean) : [row.value.trim()];
      const values = texts.map((text) => parse(kinds[row.field], operator, text, (message) => fail("value", `“${row.field}” ${message}`)));
      made = operator.make(operator.many ? values : values[0]);
    }
    filter[row.field] = merge(filter, row.field, made, (message) => fail("field", message));
  }
  return Object.keys(filter).length ? filter : null;
}

/** Two conditions on a field go together if both are operators, such as a lower and an upper bound. */
function merge(filter, field, made, fail) {
  if (!(field in filter)) return made;
  const isMap = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  const before = filter[field];
  if (isMap(before) && isMap(made) && !Object.keys(made).some((name) => name in before)) return { ...before, ...made };
  return fail(`The two conditions on “${field}” do not go together; remove one.`);
}

function parse(kind, operator, text, fail) {
  if (operator.words || kind === "text" || kind === "datetime") return text;
  if (kind === "bool") return text === "true" ? true : text === "false" ? false : fail(`is true or false, not “${text}”.`);
  if (kind === "integer" || kind === "float" || (kind === undefined && operator.ordered && !/^\d{4}-/.test(text))) {
    const number = Number(text);
    if (!Number.isFinite(number) || (kind === "integer" && !Number.isInteger(number))) {
      fail(`needs ${kind === "integer" ? "a whole number" : "a number"}, not “${text}”.`);
    }
    if (Number.isInteger(number) && !Number.isSafeInteger(number)) fail(`has the number ${text}, which this page cannot send exactly.`);
    return number;
  }
  if (kind === undefined) {
    if (text === "true" || text === "false") return text === "true";
    if (/^-?(0|[1-9]\d{0,14})(\.\d+)?$/.test(text)) return Number(text);
  }
  return text;
}

function readJson() {
  const text = byId("filter-text").value.trim();
  if (text === "") return null;
  const fail = (message) => {
    throw Object.assign(new Error(message), { element: byId("filter-text") });
  };
  let filter;
  try {
    filter = JSON.parse(text, (_, value) => {
      if (Number.isInteger(value) && !Number.isSafeInteger(value)) fail(`This page cannot send the number ${value} exactly.`);
      return value;
    });
  } catch (error) {
    if (error.element) throw error;
    fail(`This is not JSON: ${error.message}`);
  }
  if (filter === null || typeof filter !== "object" || Array.isArray(filter)) fail('A filter is an object, such as {"country": "France"}.');
  return Object.keys(filter).length ? filter : null;
}

/** Show a filter: in the form if it can, else as JSON. */
export function setFilter(filter) {
  const found = toRows(filter);
  asJson = found === null;
  rows = found ?? [];
  byId("filter-text").value = filter ? JSON.stringify(filter, null, 2) : "";
  showError("");
  draw();
  changed();
}

/** Return the rows of a filter, or null if the form cannot show it. */
function toRows(filter) {
  const found = [];
  for (const [field, value] of Object.entries(filter ?? {})) {
    const add = (operator, given) => found.push({ field, operator, value: Array.isArray(given) ? given.join(", ") : String(given ?? "") });
    if (value === null) add("none", "");
    else if (Array.isArray(value)) add("in", value);
    else if (typeof value !== "object") add("is", value);
    else for (const [name, operand] of Object.entries(value)) {
      if (!["ne", "gte", "lte", "text"].includes(name) || (operand !== null && typeof operand === "object")) return null;
      add(name, operand);
    }
  }
  const again = JSON.stringify(filter ?? {});
  const previous = rows;
  rows = found;
  draw();
  let same = false;
  try {
    const wasJson = asJson;
    asJson = false;
    same = JSON.stringify(readFilter() ?? {}) === again;
    asJson = wasJson;
  } catch {
    // A value that the form does not write, such as a text that looks like a number.
  }
  rows = previous;
  return same ? found : null;
}

function switchMode() {
  let filter;
  try {
    filter = readFilter();
  } catch (error) {
    showError(error.message, error.element);
    return;
  }
  if (!asJson) {
    asJson = true;
    byId("filter-text").value = filter ? JSON.stringify(filter, null, 2) : "";
    draw();
    byId("filter-text").focus();
    return;
  }
  const found = toRows(filter);
  if (found === null) {
    showError("The form has no fields for this filter, so it stays JSON.", byId("filter-text"));
    return;
  }
  asJson = false;
  rows = found;
  showError("");
  draw();
}

/** Show what is wrong with the filter, at a field of it; an empty message removes it. */
export function showError(message, element = null) {
  for (const marked of byId("filter").querySelectorAll("[aria-invalid]")) marked.removeAttribute("aria-invalid");
  byId("filter-error").textContent = message;
  const field = element ?? (message ? (asJson ? byId("filter-text") : byId("conditions").querySelector("input")) : null);
  field?.setAttribute("aria-invalid", "true");
  field?.setAttribute("aria-errormessage", "filter-error");
  if (message) field?.focus();
}

function drawFields() {
  byId("fields").replaceChildren(...Object.entries(kinds).map(([name, kind]) => h("option", { value: name, label: `${name} (${kind})` })));
}

function draw() {
  byId("filter-form").hidden = asJson;
  byId("filter-json").hidden = !asJson;
  byId("filter-mode").textContent = asJson ? "Edit as a form" : "Edit as JSON";
  byId("conditions").replaceChildren(...rows.map(drawRow));
}

function drawRow(row, index) {
  const value = h("input", { name: "value", "aria-label": `Value of condition ${index + 1}`, autocomplete: "off", props: { value: row.value } });
  const operator = h("select", { name: "operator", "aria-label": `Comparison of condition ${index + 1}` });
  const field = h("input", {
    name: "field", list: "fields", "aria-label": `Field of condition ${index + 1}`, placeholder: "field", autocomplete: "off",
    spellcheck: "false", props: { value: row.field },
  });
  const showOperators = () => {
    const names = [...(BY_KIND[kinds[row.field]] ?? Object.keys(OPERATORS))];
    if (!names.includes(row.operator)) names.unshift(row.operator);
    operator.replaceChildren(...names.map((name) => h("option", { value: name, props: { selected: name === row.operator } }, OPERATORS[name].label)));
    value.hidden = Boolean(OPERATORS[row.operator].bare);
    value.placeholder = OPERATORS[row.operator].many ? "one, another" : { bool: "true or false", datetime: "2026-01-31" }[kinds[row.field]] ?? "value";
  };
  const update = () => {
    Object.assign(row, { field: field.value.trim(), operator: operator.value || row.operator, value: value.value });
    showOperators();
    showError("");
    changed();
  };
  showOperators();
  for (const input of [field, value]) input.addEventListener("input", update);
  operator.addEventListener("change", update);
  const remove = h("button", {
    type: "button", class: "quiet icon", "aria-label": `Remove condition ${index + 1}`, title: "Remove",
    onclick: () => {
      rows.splice(index, 1);
      showError("");
      draw();
      byId("add-condition").focus();
      changed();
    },
  }, "×");
  return h("li", {}, field, operator, value, remove);
}
