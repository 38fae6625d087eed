// Files to documents, by the same rules as t1 index.

const MAX_BYTES = 64 * 1024 * 1024;
const FAILURE_FIELD = "t1_failure";

/** Read files. Returns `{documents, failures}`, failures as `{id, reason}`. */
export async function readFiles(files) {
  const documents = [];
  const failures = [];
  for (const file of files) {
    const fail = (reason, id = null) => failures.push({ id: id ?? file.name, reason });
    const suffix = /\.([^.]+)$/.exec(file.name)?.[1].toLowerCase();
    if (!["txt", "md", "jsonl"].includes(suffix)) fail("Only .txt, .md and .jsonl are read here; t1 index reads more formats.");
    else if (file.size > MAX_BYTES) fail("Over 64 MB: use t1 index for it.");
    else {
      try {
        const text = decode(await file.arrayBuffer());
        if (suffix === "jsonl") readLines(text, file.name, documents, fail);
        else if (text.trim() === "") fail("The file has no text.");
        else documents.push({ id: file.name, text, metadata: { source: file.name } });
      } catch (error) {
        fail(error.message);
      }
    }
  }
  return { documents, failures };
}

/** UTF-8, or UTF-16 if the file begins like that. */
function decode(buffer) {
  const [first, second] = new Uint8Array(buffer, 0, Math.min(2, buffer.byteLength));
  const encoding = first === 0xff && second === 0xfe ? "utf-16le" : first === 0xfe && second === 0xff ? "utf-16be" : "utf-8";
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(buffer);
  } catch {
    throw new Error(`The file is not text in ${encoding.toUpperCase()}; save it as UTF-8.`);
  }
}

function readLines(text, name, documents, fail) {
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "") continue;
    try {
      documents.push(toDocument(JSON.parse(line)));
    } catch (error) {
      fail(error instanceof SyntaxError ? `Not JSON: ${error.message}` : error.message, `${name}, line ${index + 1}`);
    }
  }
}

/** As `Fields.document` of `readers/records.py`: `id` or `_id`, a title before the text, other fields as metadata. */
function toDocument(record) {
  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  if (!isObject(record)) throw new Error("A line is an object, such as {\"text\": \"…\"}.");
  const { text, metadata, [FAILURE_FIELD]: _, ...rest } = record;
  if (typeof text !== "string") throw new Error(text === undefined ? "No field “text”." : "The field “text” is not a string.");
  if (metadata !== undefined && metadata !== null && !isObject(metadata)) throw new Error("The field “metadata” is not an object.");
  const name = "id" in rest ? "id" : "_id";
  const id = rest[name] ?? null;
  delete rest[name];
  if (id !== null && typeof id !== "string" && !Number.isInteger(id)) throw new Error(`The field “${name}” is not a string or a whole number.`);
  if (typeof id === "number" && !Number.isSafeInteger(id)) throw new Error(`This page cannot send the id ${id} exactly: write it as a string.`);
  const whole = typeof rest.title === "string" ? `${rest.title} ${text}`.trim() : text;
  return { text: whole, ...(id === null ? {} : { id: String(id) }), metadata: { ...rest, ...(metadata ?? {}) } };
}
