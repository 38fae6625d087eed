// The hits with and without thinking, side by side, with lines from each rank to the other.

import { byId, h, svg } from "./dom.js";
import { passage, reasons } from "./explain.js";
import { count, duration, valueText } from "./text.js";

const CHIPS = 6;

let columns = null;
let redraw = () => {};
const resized = new ResizeObserver(() => redraw());

/** Show the frame of both lists while the thought is generated. */
export function showWaiting(limit, { thinking }) {
  const rows = Array.from({ length: Math.min(limit, 5) }, () => h("li", { class: "waiting", "aria-hidden": "true" }, h("span"), h("span")));
  show(rows.length, list("with", thinking ? "With the thought" : "Hits", "", rows), thinking ? list("without", "Without thinking", "", []) : null);
}

/** Show the hits without thinking, which arrive while T1 still thinks. */
export function showPlain(plain) {
  const section = columns?.querySelector(".without");
  if (!section) return;
  section.replaceWith(list("without", "Without thinking", duration(plain.timings.total), plain.hits.map((hit, index) => plainItem(hit, index + 1))));
  setRows(Math.max(plain.hits.length, columns.querySelectorAll(".with li").length));
}

/**
 * Show both lists.
 * @param {object} result The answer.
 * @param {object|null} plain The answer without thinking; null shows one list.
 * @param {object} on `preview(hit, rank)` when a hit is looked at, null when no longer; `pin(hit, rank)` when it is
 *   opened; `filter(field, value)` when a value of its metadata is chosen; `title` of the list.
 */
export function showHits(result, plain, on) {
  const before = new Map((plain?.hits ?? []).map((hit, index) => [hit.id, index + 1]));
  const items = result.hits.map((hit, index) => hitItem(hit, index + 1, plain ? (before.get(hit.id) ?? hit.explanation?.rank_without_thinking ?? null) : undefined, on));
  show(
    Math.max(result.hits.length, plain?.hits.length ?? 0),
    list("with", on.title, duration(result.timings.total), items),
    plain && list("without", "Without thinking", duration(plain.timings.total), plain.hits.map((hit, index) => plainItem(hit, index + 1))),
  );
  if (plain) {
    linkLists(plain);
    redraw();
  }
}

/** Remove the lists. */
export function clearHits() {
  columns = null;
  redraw = () => {};
  byId("results").replaceChildren();
}

function show(rows, ...sections) {
  redraw = () => {};
  const [first, second] = sections;
  const lane = second ? svg("svg", { class: "lane", "aria-hidden": "true" }) : null;
  columns = h("div", { class: second ? "columns" : "columns single" }, first, lane, second);
  byId("results").replaceChildren(columns);
  resized.disconnect();
  resized.observe(columns);
  setRows(rows);
}

/** Both lists share their rows, so equal ranks are at equal heights. */
function setRows(rows) {
  columns.style.setProperty("--rows", Math.max(rows, 1) + 1);
}

function list(name, title, time, items) {
  return h("section", { class: name, "aria-labelledby": `${name}-title` },
    h("h2", { id: `${name}-title` }, title, time ? h("span", { class: "time" }, ` ${time}`) : null),
    h("ol", { class: "hits", onkeydown: walk }, items));
}

function walk(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !event.target.matches(".head")) return;
  const heads = [...event.currentTarget.querySelectorAll(".head")];
  heads[heads.indexOf(event.target) + step]?.focus();
  event.preventDefault();
}

function hitItem(hit, rank, before, on) {
  const details = h("div", { class: "reasons", id: `why-${rank}`, hidden: true });
  const head = h("button", { type: "button", class: "head", "aria-expanded": "false", "aria-controls": `why-${rank}`, onclick: toggle },
    h("span", { class: "rank" }, rank), h("span", { class: "id", title: hit.id }, hit.id), before === undefined ? null : moveMark(rank, before),
    h("span", { class: "score" }, h("span", { class: "hidden" }, "score "), hit.score.toFixed(2)));
  const item = h("li", { class: "hit", "data-id": hit.id, onclick: clicked, onpointerenter: (event) => event.pointerType === "mouse" && look(), onpointerleave: (event) => event.pointerType === "mouse" && leave(), onfocusin: look, onfocusout: leave },
    head, h("p", { class: "text" }, passage(hit)), chips(hit.metadata, on.filter), details);
  function toggle() {
    const open = details.hidden;
    if (open && !details.childNodes.length) details.append(...reasons(hit, rank, { asked: on.explained }).filter(Boolean));
    details.hidden = !open;
    head.setAttribute("aria-expanded", String(open));
    item.classList.toggle("open", open);
    on.pin(hit, rank);
  }
  function clicked(event) {
    if (event.target.closest("button, .reasons") || !getSelection().isCollapsed) return;
    toggle();
  }
  function look() {
    emphasise(hit.id, true);
    on.preview(hit, rank);
  }
  function leave() {
    emphasise(hit.id, false);
    on.preview(null, null);
  }
  return item;
}

function moveMark(rank, before) {
  if (before === null) return h("span", { class: "move up" }, "new");
  if (before === rank) return h("span", { class: "move same" }, "same rank");
  return h("span", { class: before > rank ? "move up" : "move down" }, `${before > rank ? "↑" : "↓"} from ${before.toLocaleString("en")}`);
}

function plainItem(hit, rank) {
  const light = (lit) => () => emphasise(hit.id, lit);
  return h("li", { class: "hit", "data-id": hit.id, onpointerenter: light(true), onpointerleave: light(false) },
    h("p", { class: "head" }, h("span", { class: "rank" }, rank), h("span", { class: "id", title: hit.id }, hit.id),
      h("span", { class: "score" }, h("span", { class: "hidden" }, "score "), hit.score.toFixed(2))),
    h("p", { class: "text" }, hit.text));
}

/** A metadata field's name as the path in a filter: quoted if it has dots or brackets. */
const path = (name) => (/[.[\]]/.test(name) ? `"${name}"` : name);

function chips(metadata, onFilter) {
  const entries = Object.entries(metadata ?? {});
  if (!entries.length) return null;
  const shown = entries.slice(0, CHIPS).map(([name, value]) => {
    const text = [h("span", { class: "name" }, name), " ", valueText(value)];
    if (!["string", "number", "boolean"].includes(typeof value)) return h("li", { class: "chip" }, text);
    return h("li", {}, h("button", { type: "button", class: "chip", title: "Search only where this is so", onclick: () => onFilter(path(name), value) }, text));
  });
  const more = entries.slice(CHIPS);
  return h("ul", { class: "chips", "aria-label": "Metadata" }, shown, more.length ? h("li", { class: "note", title: more.map(([name]) => name).join(", ") }, `and ${count(more.length, "field")} more`) : null);
}

function emphasise(id, lit) {
  for (const one of columns?.querySelectorAll("[data-id]") ?? []) if (one.dataset.id === id) one.classList.toggle("lit", lit);
}

/** Draw a line for each hit that is in both lists, and a short one that ends for a hit that is in one. */
function linkLists(plain) {
  const lane = columns.querySelector(".lane");
  const known = new Map(plain.hits.map((hit, index) => [hit.id, index]));
  const left = [...columns.querySelectorAll(".with .hit")];
  const right = [...columns.querySelectorAll(".without .hit")];
  const found = new Set(left.map((item) => item.dataset.id));
  redraw = () => {
    const frame = lane.getBoundingClientRect();
    if (!frame.width) return;
    const y = (item) => item.querySelector(".head").getBoundingClientRect().top + 14 - frame.top;
    const lines = left.map((item, index) => {
      const at = known.get(item.dataset.id);
      const from = y(item);
      if (at === undefined) return line(item.dataset.id, "up new", from, null, frame.width);
      return line(item.dataset.id, at > index ? "up" : at < index ? "down" : "same", from, y(right[at]), frame.width);
    });
    const gone = right.filter((item) => !found.has(item.dataset.id)).map((item) => svg("circle", { class: "gone", cx: frame.width - 4, cy: y(item), r: 2.5 }));
    lane.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
    lane.replaceChildren(...lines, ...gone);
  };
}

function line(id, kind, from, to, width) {
  const [start, end, middle] = [4, width - 4, width / 2];
  const curve = to === null ? `M${start} ${from}H${middle}` : `M${start} ${from}C${middle} ${from} ${middle} ${to} ${end} ${to}`;
  return svg("g", { class: `link ${kind}`, "data-id": id },
    svg("path", { d: curve }), svg("circle", { cx: start, cy: from, r: 3.5 }), to === null ? null : svg("circle", { cx: end, cy: to, r: 2.5 }));
}
