// Queries to begin with, made of what the index holds.

import { oneLine } from "./text.js";

const MOST = 3;
const TITLES = ["question", "title", "name", "heading", "subject"];

/** Those of `t1 demo`, whose corpus is known. Each combines several facts, which no single document says. */
const DEMO = [
  "what can be mined in the neighbour sharing the longest frontier with the neighbour sharing the longest frontier with the nation ruled from Mbabane",
  "what do the factories of the biggest customer of the nation ruled from Sao Tome make",
  "how do the inhabitants of the main land neighbour of the state with the greatest land frontier to the main land neighbour of the state that rises highest at Mount Wuteve talk",
];

/** Return up to three queries for chunks that were read from the index. */
export function examplesFor(chunks) {
  if (chunks.filter(isDemo).length * 2 > chunks.length) return DEMO;
  const found = chunks.map(({ text, metadata }) => {
    const title = TITLES.map((name) => metadata?.[name]).find((value) => typeof value === "string" && value.trim());
    return oneLine(title ?? /^\s*#*\s*(.*?[.!?。](?=\s|$)|.*)/s.exec(text)[1], 90);
  });
  return [...new Set(found.filter(Boolean))].slice(0, MOST);
}

function isDemo({ id, metadata }) {
  return typeof metadata?.country === "string" && typeof metadata.facet === "string" && id.endsWith(`/${metadata.facet}`);
}
