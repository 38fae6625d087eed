// What is remembered: the search in the URL's hash, and the theme.

const THEME = "t1-playground-theme";
const NAMES = ["q", "index", "think", "budget", "samples", "limit", "hybrid", "group", "explain", "map", "filter"];

/** Read the search that the address describes: an object of strings. */
export function readHash() {
  const found = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(NAMES.filter((name) => found.has(name)).map((name) => [name, found.get(name)]));
}

/** Write a search, an object of strings, into the address; empty ones are left out. */
export function writeHash(state) {
  const hash = `#${new URLSearchParams(NAMES.filter((name) => state[name]).map((name) => [name, state[name]]))}`;
  if (hash !== location.hash) history.pushState(null, "", hash);
}

/** Let a button switch between the dark and the light theme; the first is the system's. */
export function initTheme(button) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const show = () => {
    const chosen = localStorage.getItem(THEME);
    if (chosen) root.dataset.theme = chosen;
    button.setAttribute("aria-pressed", String((chosen ?? (system.matches ? "dark" : "light")) === "dark"));
  };
  button.addEventListener("click", () => {
    const dark = button.getAttribute("aria-pressed") === "true";
    localStorage.setItem(THEME, dark ? "light" : "dark");
    show();
  });
  system.addEventListener("change", show);
  show();
}
