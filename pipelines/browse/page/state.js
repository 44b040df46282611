// The address of the page: which samples are shown, which view, and which sample is open.

export const FACETS = ["kind", "condition", "recipe", "engine", "split", "camera", "source", "verdict", "code"];
const PARAMETERS = [...FACETS, "scene", "text", "frame", "between", "sort", "descending"];
const listeners = [];

export const state = { query: new URLSearchParams(), view: "grid", key: null };

export function readAddress() {
  const given = new URLSearchParams(location.search);
  const query = new URLSearchParams();
  for (const [name, value] of given) if (PARAMETERS.includes(name) && value) query.append(name, value);
  const [, first, second] = location.pathname.split("/");
  const filterChanged = query.toString() !== state.query.toString();
  state.query = query;
  state.key = first === "sample" ? decode(second ?? "") : null;
  if (!state.key) state.view = first === "statistics" ? "statistics" : "grid";
  return Promise.all(listeners.map((listener) => listener(filterChanged)));
}

function decode(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

// Words for a recipe's folder: the names of the recipes that use it, then the folder with its hash.
let recipes = {};
export function nameRecipes(found) { recipes = found; }
export const recipeNames = (folder) => (recipes[folder] ?? []).join(", ");
export function recipeWords(folder) {
  const names = recipeNames(folder);
  return names ? `${names} (${folder})` : folder;
}

export function onChange(listener) { listeners.push(listener); }

export function address({ query = state.query, view = state.view, key = state.key } = {}) {
  const path = key ? `/sample/${encodeURIComponent(key)}` : view === "statistics" ? "/statistics" : "/";
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

export function go(changes, { replace = false } = {}) {
  const target = address(changes);
  if (changes.view) state.view = changes.view;
  history[replace ? "replaceState" : "pushState"](null, "", target);
  readAddress();
}

export function setFilter(change) {
  const query = new URLSearchParams(state.query);
  change(query);
  query.sort();
  go({ query, key: null });
}

export const toggle = (name, value) => setFilter((query) => {
  if (query.has(name, value)) query.delete(name, value);
  else query.append(name, value);
});

export const setOne = (name, value) => setFilter((query) => {
  if (value) query.set(name, value);
  else query.delete(name);
});

export function setRange(measure, low, high) {
  setFilter((query) => {
    const others = query.getAll("between").filter((one) => measureOf(one) !== measure);
    query.delete("between");
    for (const one of others) query.append("between", one);
    if (low !== null || high !== null) query.append("between", `${measure}:${low ?? ""}:${high ?? ""}`);
  });
}

export const measureOf = (between) => between.split(":").slice(0, -2).join(":");
export const endsOf = (between) => between.split(":").slice(-2).map((end) => (end === "" ? null : Number(end)));
