// Texts and figures. The service counts characters as Python does, in code points, and JavaScript in UTF-16 units.

/** Return `text[start:end]` by code points. */
export function slice(text, start, end) {
  return Array.from(text).slice(start, end).join("");
}

/** Cut a text at spans `{start, end, ...}` into parts `{text, span}`, with span null between them. Overlaps lose. */
export function parts(text, spans) {
  const points = Array.from(text);
  const cut = [];
  let at = 0;
  for (const span of [...spans].sort((a, b) => a.start - b.start)) {
    if (span.start < at || span.end <= span.start || span.end > points.length) continue;
    if (span.start > at) cut.push({ text: points.slice(at, span.start).join(""), span: null });
    cut.push({ text: points.slice(span.start, span.end).join(""), span });
    at = span.end;
  }
  if (at < points.length) cut.push({ text: points.slice(at).join(""), span: null });
  return cut;
}

/** Shorten a text to one line of at most `length` code points. */
export function oneLine(text, length) {
  const line = text.replace(/\s+/g, " ").trim();
  const points = Array.from(line);
  return points.length <= length ? line : `${points.slice(0, length - 1).join("").trimEnd()}…`;
}

/** Write seconds as people read them. */
export function duration(seconds) {
  if (seconds >= 9.95) return `${Math.round(seconds)} s`;
  if (seconds >= 0.9995) return `${seconds.toFixed(1)} s`;
  const milliseconds = seconds * 1000;
  return `${milliseconds >= 9.95 ? Math.round(milliseconds) : milliseconds.toFixed(1)} ms`;
}

/** Write a count with its noun: `1 hit`, `1,843 documents`. */
export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** Write a number with its sign, and a real minus. */
export function signed(number, digits = 2) {
  const text = Math.abs(number).toFixed(digits);
  return Number(text) === 0 ? text : `${number < 0 ? "−" : "+"}${text}`;
}

/** Write a metadata value as text. */
export function valueText(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}
