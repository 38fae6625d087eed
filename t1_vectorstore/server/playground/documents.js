// The drop zone: reads files in the browser, and sends their documents to the service in parts.

import { addDocuments } from "./api.js";
import { byId, h } from "./dom.js";
import { readFiles } from "./reading.js";
import { count, duration } from "./text.js";

const MOST_DOCUMENTS = 64;
const MOST_BYTES = 512 * 1024;
const SHOWN = 20;
const ATTEMPTS = 5;

let stopper = null;

/**
 * Prepare the drop zone; the whole page accepts files while it is shown.
 * @param {object} on `index()` returns the chosen index; `done(documents)` is called after a load; `failed(error)`
 *   shows an error of the service.
 */
export function initDocuments(on) {
  const drop = byId("drop");
  const writable = () => !byId("documents").hidden;
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault(); // else the browser would open the file, and the page would be gone
    event.dataTransfer.dropEffect = writable() ? "copy" : "none";
    drop.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget ?? drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    drop.classList.remove("over");
    if (writable()) load([...event.dataTransfer.files], on);
  });
  byId("files").addEventListener("change", () => {
    const files = [...byId("files").files];
    byId("files").value = "";
    load(files, on);
  });
  byId("load-stop").addEventListener("click", () => stopper?.abort());
}

async function load(files, on) {
  if (stopper || !files.length) return;
  const abort = (stopper = new AbortController());
  byId("load-report").replaceChildren();
  byId("documents").scrollIntoView({ block: "nearest" });
  showProgress(0, 0);
  const index = on.index()?.name; // also if another one is chosen meanwhile
  const { documents, failures } = await readFiles(files);
  const report = { documents: 0, stored: 0, unchanged: 0, chunks: 0, failed: failures.length, truncated: 0, seconds: 0, failures };
  let problem = null;
  let sent = 0;
  try {
    for (const part of split(documents)) {
      showProgress(sent, documents.length);
      merge(report, await send({ index, documents: part }, abort.signal));
      sent += part.length;
    }
  } catch (error) {
    problem = error.name === "AbortError" ? { message: "Stopped.", remedy: "Documents that were sent are stored; adding the files again adds only the rest." } : error;
  }
  stopper = null;
  byId("loading").hidden = true;
  showReport(report, problem, documents.length - sent);
  if (problem?.status === 401) on.failed(problem);
  if (sent) on.done(documents);
}

function* split(documents) {
  let part = [];
  let bytes = 0;
  for (const document of documents) {
    const size = new Blob([JSON.stringify(document)]).size;
    if (part.length && (part.length >= MOST_DOCUMENTS || bytes + size > MOST_BYTES)) {
      yield part;
      [part, bytes] = [[], 0];
    }
    part.push(document);
    bytes += size;
  }
  if (part.length) yield part;
}

/** Send one part; a busy service is asked again after the time that it names. */
async function send(body, signal) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await addDocuments(body, signal);
    } catch (error) {
      if (error.status !== 429 || attempt === ATTEMPTS) throw error;
      const seconds = error.retryAfter ?? 1;
      byId("load-count").textContent = `The service is busy; waiting ${seconds} s.`;
      await pause(seconds * 1000, signal);
    }
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    });
  });
}

function merge(report, part) {
  for (const name of ["documents", "stored", "unchanged", "chunks", "failed", "truncated", "seconds"]) report[name] += part[name] ?? 0;
  report.failures.push(...(part.failures ?? []));
}

function showProgress(sent, all) {
  byId("loading").hidden = false;
  byId("load-progress").value = all ? sent / all : 0;
  byId("load-count").textContent = all ? `${sent.toLocaleString("en")} of ${count(all, "document")}` : "reading …";
}

function showReport(report, problem, unsent) {
  const counts = [
    `${count(report.documents, "document")} in ${count(report.chunks, "chunk")}: ${report.stored.toLocaleString("en")} stored, ${report.unchanged.toLocaleString("en")} unchanged`,
    report.truncated ? `${count(report.truncated, "chunk")} longer than the model reads` : null,
    report.failed ? `${report.failed.toLocaleString("en")} failed` : null,
    unsent ? `${unsent.toLocaleString("en")} not sent` : null,
  ].filter(Boolean);
  byId("load-report").replaceChildren(
    ...[
      problem ? h("p", { class: "error" }, problem.message, " ", problem.remedy ?? "") : null,
      h("p", { class: report.failed || problem ? "" : "good" }, `${counts.join(" · ")}${report.seconds ? ` (${duration(report.seconds)})` : ""}`),
      report.failures.length
        ? h("ul", { class: "failures" }, report.failures.slice(0, SHOWN).map(({ id, reason }) => h("li", {}, h("b", {}, id ?? "?"), ": ", reason)),
            report.failures.length > SHOWN ? h("li", {}, `and ${(report.failures.length - SHOWN).toLocaleString("en")} more`) : null)
        : null,
    ].filter(Boolean),
  );
}
