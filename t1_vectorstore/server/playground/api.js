// The service's interface. URLs are relative, so the page also works under the path of a proxy.

const KEY = "t1-playground-key";

/** The API key, kept in this tab's session storage only. */
export const apiKey = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (key) => (key ? sessionStorage.setItem(KEY, key) : sessionStorage.removeItem(KEY)),
};

/** A failure with a message for people: what happened, and what to do. */
export class ServiceError extends Error {
  /**
   * @param {string} message What happened.
   * @param {object} details `remedy`: what to do; `status`: HTTP status, 0 without an answer; `param`: the request's
   *   field that is wrong; `retryAfter`: seconds to wait.
   */
  constructor(message, { remedy = "", status = 0, param = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { remedy, status, param, retryAfter });
  }
}

function headers(body) {
  const key = apiKey.get();
  return { ...(body ? { "Content-Type": "application/json" } : {}), ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

async function send(method, path, body, signal) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: headers(body),
      body: body ? JSON.stringify(body) : undefined,
      signal,
      cache: "no-store",
      credentials: "omit",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError("The service does not answer.", { remedy: "Check that t1 serve is running, then try again." });
  }
  if (!response.ok) throw await failure(response);
  return response;
}

async function failure(response) {
  const { status } = response;
  let said = {};
  try {
    said = (await response.json()).error ?? {};
  } catch {
    // Not the service's own error, such as a proxy's page: the status says enough.
  }
  const message = typeof said.message === "string" ? said.message : "";
  return explained(status, message, said.param ?? null, Number(response.headers.get("Retry-After")) || null);
}

function explained(status, message, param, retryAfter) {
  const details = { status, param, retryAfter };
  const says = message ? ` It says: ${/[.!?]$/.test(message) ? message : `${message}.`}` : "";
  if (status === 401) {
    const given = apiKey.get() !== "";
    return new ServiceError(given ? "The service does not accept this API key." : "The service needs an API key.", {
      ...details,
      remedy: given ? "Enter another key above." : "Enter yours above; the person who runs the service has it.",
    });
  }
  if (status === 403) return new ServiceError(`This is not allowed here.${says}`, { ...details, remedy: "Use a key that has the right." });
  if (status === 404) return new ServiceError(message ? `${message.replace(/\.$/, "")}.` : "The service does not have this.", { ...details, remedy: "Choose an index above, or reload the page." });
  if (status === 413) return new ServiceError(`This is more than the service accepts.${says}`, { ...details, remedy: "Send less." });
  if (status === 429) {
    const wait = retryAfter ? ` Try again in ${retryAfter} s.` : " Try again in a moment.";
    return new ServiceError("The service has too much to do at the moment.", { ...details, remedy: wait.trim() });
  }
  if (status >= 500) {
    return new ServiceError(`The service failed (${status}).${says}`, {
      ...details,
      remedy: status === 503 ? "It may be starting or stopping: try again in a moment." : "Try again; its log has the reason.",
    });
  }
  return new ServiceError(message || `The service refused this (${status}).`, details);
}

async function answer(method, path, body, signal) {
  const response = await send(method, path, body, signal);
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError("The answer is not that of a T1 service.", { status: response.status, remedy: "Check the address of this page." });
  }
}

export const listIndexes = async () => (await answer("GET", "v1/indexes")).data;
export const search = (body, signal) => answer("POST", "v1/search", body, signal);
export const addDocuments = (body, signal) => answer("POST", "v1/documents", body, signal);

/** Return a few stored chunks, whatever the service calls their list. */
export async function sampleChunks(index, limit) {
  const listed = await answer("POST", "v1/documents/list", { index, limit });
  return listed.data ?? listed.chunks ?? listed.documents ?? [];
}

/**
 * Search, and call `onThought` with each piece of the thought.
 * @returns The result, as `search` does.
 */
export async function streamSearch(body, signal, onThought) {
  const response = await send("POST", "v1/search/stream", body, signal);
  try {
    for await (const { event, data } of events(response.body)) {
      if (event === "thought") onThought(JSON.parse(data).text);
      else if (event === "result") return JSON.parse(data);
      else if (event === "error") {
        const said = JSON.parse(data).error ?? {};
        throw new ServiceError(said.message || "The search failed.", { param: said.param ?? null, remedy: "Search again." });
      }
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof ServiceError) throw error;
  }
  throw new ServiceError("The connection was lost before the hits arrived.", { remedy: "Search again." });
}

/** Yield the server-sent events of a body: `{event, data}`. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  const pending = { event: "", data: [] };
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      // A line may end with CR LF, and a part of the body between the two, so a final CR waits for what follows.
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      yield* parse(lines);
    }
  } finally {
    reader.cancel().catch(() => {});
  }

  function* parse(lines) {
    for (const line of lines) {
      if (line === "") {
        if (pending.data.length) yield { event: pending.event || "message", data: pending.data.join("\n") };
        pending.event = "";
        pending.data = [];
      } else if (!line.startsWith(":")) {
        const [, field, value] = /^([^:]*)(?::[ ]?([^]*))?$/.exec(line);
        if (field === "event") pending.event = value ?? "";
        else if (field === "data") pending.data.push(value ?? "");
      }
    }
  }
}
