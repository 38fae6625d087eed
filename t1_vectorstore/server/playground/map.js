// The vectors in two dimensions: the way from the query, thought by thought, to the hits. The table says the same.

import { byId, h, svg } from "./dom.js";
import { count, oneLine } from "./text.js";

const [WIDTH, HEIGHT, EDGE, RADIUS] = [360, 300, 22, 9];
const NAMES = { query_without_thinking: "Query alone", thought: "Thought", query: "Query with its thought", hit: "Hit" };

/** Draw the map of a result, or hide it if the result has none. */
export function showMap(result) {
  const points = (result?.map ?? []).filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y));
  byId("map-section").hidden = points.length < 2;
  if (points.length < 2) return;
  const placed = place(points, result.hits);
  byId("map-drawing").replaceChildren(draw(placed));
  byId("map-table").replaceChildren(...table(placed));
}

/** Give each point its place in the drawing, a name, and a hit's rank. One scale for both axes keeps distances true. */
function place(points, hits) {
  const ranks = new Map(hits.map((hit, index) => [hit.id, index + 1]));
  const [left, right] = [Math.min(...points.map(({ x }) => x)), Math.max(...points.map(({ x }) => x))];
  const [low, high] = [Math.min(...points.map(({ y }) => y)), Math.max(...points.map(({ y }) => y))];
  const scale = Math.min((WIDTH - 2 * EDGE) / (right - left || 1), (HEIGHT - 2 * EDGE) / (high - low || 1));
  let steps = 0;
  return points.map((point) => {
    const rank = point.kind === "hit" ? (ranks.get(point.hit) ?? null) : null;
    const step = point.kind === "thought" ? ++steps : null;
    return {
      ...point,
      rank,
      step,
      name: `${NAMES[point.kind] ?? point.kind}${rank ? ` ${rank}` : step ? `, step ${step}` : ""}`,
      cx: WIDTH / 2 + (point.x - (left + right) / 2) * scale,
      cy: HEIGHT / 2 - (point.y - (low + high) / 2) * scale,
    };
  });
}

/** Move the numbers of hits apart that lie on each other; each keeps a line to its true place. */
function separate(hits) {
  const labels = hits.map(({ cx, cy }) => ({ x: cx, y: cy }));
  const least = 2 * RADIUS + 1;
  for (let round = 0; round < 60; round++) {
    for (let i = 0; i < labels.length; i++) {
      for (let j = 0; j < i; j++) {
        let [dx, dy] = [labels[i].x - labels[j].x, labels[i].y - labels[j].y];
        if (!dx && !dy) [dx, dy] = [Math.cos(i), Math.sin(i)]; // the same place: any direction, but always the same one
        const distance = Math.hypot(dx, dy);
        if (distance >= least) continue;
        const push = (least - distance) / 2 / distance;
        for (const [label, sign] of [[labels[i], 1], [labels[j], -1]]) {
          label.x = clamp(label.x + sign * dx * push, WIDTH);
          label.y = clamp(label.y + sign * dy * push, HEIGHT);
        }
      }
    }
  }
  return labels;
}

const clamp = (value, size) => Math.min(Math.max(value, RADIUS + 1), size - RADIUS - 1);

function draw(points) {
  const of = (kind) => points.filter((point) => point.kind === kind);
  const way = [...of("query_without_thinking"), ...of("thought"), ...of("query")];
  const nearest = of("hit").find(({ rank }) => rank === 1);
  const moved = way.length > 1;
  const labels = separate(of("hit"));
  const summary = `${of("hit").length} hits as numbered circles${moved ? `, and the way of the query's vector while T1 thinks, in ${count(way.length - 1, "step")}` : ""}. The table below has the same points.`;
  const dot = (kind, r) => of(kind).map((point) => svg("circle", { class: kind, cx: point.cx, cy: point.cy, r }, svg("title", {}, `${point.name}: ${oneLine(point.label, 120)}`)));
  return h("figure", {},
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Map of vectors. ${summary}` },
      [1, 2, 3].map((part) => svg("path", { class: "grid", d: `M${(WIDTH * part) / 4} 0V${HEIGHT}M0 ${(HEIGHT * part) / 4}H${WIDTH}` })),
      moved ? svg("polyline", { class: "way", points: way.map(({ cx, cy }) => `${cx},${cy}`).join(" ") }) : null,
      of("hit").map((point, index) => ({ point, label: labels[index] })).reverse().map(({ point, label }) =>
        svg("g", { class: point === nearest ? "hit first" : "hit", "data-id": point.hit },
          svg("title", {}, `${point.name}: ${point.hit}`),
          svg("path", { class: "leader", d: `M${point.cx} ${point.cy}L${label.x} ${label.y}` }),
          svg("circle", { class: "place", cx: point.cx, cy: point.cy, r: 2 }),
          svg("circle", { cx: label.x, cy: label.y, r: RADIUS }),
          svg("text", { x: label.x, y: label.y + 3.5 }, point.rank ?? "·"))),
      dot("thought", 3.5), dot("query_without_thinking", 5.5), dot("query", 6)),
    h("figcaption", { class: "note legend" },
      of("query_without_thinking").length ? h("span", { class: "key alone" }, "query alone") : null,
      of("thought").length ? h("span", { class: "key step" }, "thought steps") : null,
      h("span", { class: "key end" }, of("query_without_thinking").length ? "query with thought" : "query"),
      h("span", { class: "key near" }, "hits")));
}

function table(points) {
  const row = ({ name, label, hit, x, y }) =>
    h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, hit ?? oneLine(label, 80)), h("td", { class: "number" }, x.toFixed(3)), h("td", { class: "number" }, y.toFixed(3)));
  return [
    h("caption", { class: "note" }, "The two directions in which these vectors differ most (principal components)."),
    h("thead", {}, h("tr", {}, ["Point", "Text or id", "x", "y"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, points.map(row)),
  ];
}
