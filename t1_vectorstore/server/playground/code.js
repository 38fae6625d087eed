// The same search outside of the page, and its result, to copy.

import { byId, copyText } from "./dom.js";

let result = null;

/** Prepare the buttons that copy. */
export function initCode() {
  const say = async (text, what) => {
    byId("copied").textContent = (await copyText(text)) ? `${what} copied` : "The browser does not allow copying";
    setTimeout(() => (byId("copied").textContent = ""), 4000);
  };
  byId("copy-link").addEventListener("click", () => say(location.href, "Link"));
  byId("copy-json").addEventListener("click", () => say(JSON.stringify(result, null, 2), "Result"));
}

/** Show how to make a request elsewhere, and its result. */
export function showCode(body, answer, withKey) {
  result = answer;
  const url = new URL("v1/search", document.baseURI).href;
  const json = JSON.stringify(body);
  const quoted = json.replaceAll("'", "'\\''");
  byId("code").hidden = false;
  byId("curl").textContent = [
    `curl ${url} \\`,
    "  -H 'Content-Type: application/json' \\",
    ...(withKey ? ['  -H "Authorization: Bearer $T1_API_KEY" \\'] : []),
    `  -d '${quoted}'`,
  ].join("\n");
  byId("python").textContent = [
    ...(withKey ? ["import os", ""] : []),
    "import httpx",
    "",
    "answer = httpx.post(",
    `    ${JSON.stringify(url)},`,
    `    json=${python(body)},`,
    ...(withKey ? ['    headers={"Authorization": f"Bearer {os.environ[\'T1_API_KEY\']}"},'] : []),
    "    timeout=60,",
    ").raise_for_status()",
    'for hit in answer.json()["hits"]:',
    '    print(f"{hit[\'score\']:.2f}", hit["id"], hit["text"])',
  ].join("\n");
  byId("json").textContent = JSON.stringify(answer, null, 2);
}

/** Write a JSON value as Python. */
function python(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${python(one)}`).join(", ")}}`;
  return JSON.stringify(value);
}
