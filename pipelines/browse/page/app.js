// Start of the page: loads the dataset, connects address, filters, grid, statistics and keys.

import { get, samplePath } from "./api.js";
import { element, find, isTyping, number, toast } from "./dom.js";
import { buildFilters, showChips, showFacets } from "./filters.js";
import { Grid } from "./grid.js";
import { closeSample, current, giveVerdict, openSample, redrawSample, typedReason } from "./sample.js";
import { go, nameRecipes, onChange, readAddress, setFilter, setOne, state } from "./state.js";
import { showStatistics } from "./statistics.js";

const VERDICT_KEYS = { a: "accept", r: "reject", u: "none" };
const THEMES = ["auto", "light", "dark"], WATCH_MS = 10000;
let dataset = null, position = -1, asked = 0, drawnFor = null;

const grid = new Grid(find("grid"), find("canvas"), {
  load: async (offset, limit, signal) => {
    const query = new URLSearchParams(state.query);
    query.set("offset", offset);
    query.set("limit", limit);
    return (await get("/api/samples", query, signal)).items;
  },
  open: (key, index) => { position = index; go({ key }); },
});

const place = {
  words: () => (position >= 0 ? `${number(position + 1)} of ${number(grid.total)}` : ""),
  next: () => step(1),
  previous: () => step(-1),
};

async function step(by) {
  if (position < 0) return;
  const item = await grid.item(position + by).catch(() => undefined);
  if (!item) return;
  position += by;
  grid.select(position, { focus: false });
  go({ key: item.key }, { replace: true });
}

async function showSample() {
  if (!state.key) {
    if (find("sample").open) { closeSample(); grid.select(grid.selected); }
    return;
  }
  const key = state.key;
  if (grid.known(position)?.key !== key) {
    position = -1;
    get(`${samplePath(key)}/position`, state.query).then((found) => {
      if (state.key !== key) return;
      position = found.position;
      if (position >= 0) grid.select(position, { focus: false });
      const box = find("place");
      if (box) box.textContent = place.words();
    }).catch(() => {});
  }
  await openSample(key, verdict, place);
}

// The sample that is open, or the tile that has the focus: a verdict never goes to an unseen one.
function reviewed() {
  if (find("sample").open) return current();
  return document.activeElement?.classList.contains("tile") ? grid.known(grid.selected) : null;
}

async function verdict(value) {
  const { key, kind } = reviewed() ?? {};
  if (!key) return;
  if (kind !== "variant" && kind !== "rejected") { toast("Only variants have verdicts."); return; }
  try {
    const recorded = await giveVerdict(key, value, current() ? typedReason() : "");
    grid.mark(key, recorded?.verdict ?? null);
    redrawSample(verdict, place);
    showCounts(false);
  } catch (error) {
    toast(error.message);
  }
}

async function showCounts(isNew) {
  const turn = ++asked;
  try {
    const found = await get("/api/facets", state.query);
    if (turn !== asked) return;
    find("total").textContent = `${number(found.total)} of ${number(found.of)}`;
    if (isNew) dataset.total = found.of;
    showNew(found.of);
    showFacets(found.facets);
    showChips();
    if (isNew) {
      grid.reset(found.total);
      position = -1;
      showEmpty(found.total);
    }
  } catch (error) {
    if (turn !== asked) return;
    find("total").textContent = "";
    showChips();
    if (isNew) { grid.reset(0); showEmpty(0, error.message); }
  }
}

// What is committed while the page is open; the address keeps the filter and the open sample.
function showNew(total) {
  const more = total - dataset.total;
  find("new").hidden = more === 0;
  find("new").textContent = more > 0 ? `${number(more)} new: show` : "changed: show";
}

function watch() {
  setInterval(async () => {
    if (document.hidden) return;
    try { showNew((await get("/api/total")).total); } catch { /* the next request says so */ }
  }, WATCH_MS);
}

function showEmpty(total, words = "") {
  const text = dataset.total
    ? "No sample meets all conditions of the filter."
    : "This dataset has no committed frames or variants yet. Run nightrain ingest or nightrain generate; what they commit is shown here.";
  find("empty").textContent = words || text;
  find("empty").hidden = total > 0;
}

function showView() {
  const isGrid = state.view === "grid";
  find("grid").hidden = !isGrid;
  find("statistics").hidden = isGrid;
  for (const [name, view] of [["to-grid", "grid"], ["to-statistics", "statistics"]]) {
    if (state.view === view) find(name).setAttribute("aria-current", "page");
    else find(name).removeAttribute("aria-current");
  }
  find("sort").value = state.query.get("sort") ?? "";
  find("direction").textContent = state.query.get("descending") ? "↓" : "↑";
  const drawing = `${state.query}`;
  if (!isGrid && drawnFor !== drawing) { drawnFor = drawing; showStatistics(); }
}

function showProblems() {
  const found = Object.entries(dataset.problems);
  if (!found.length) return;
  const words = found.length === 1 ? "1 file cannot be read and is left out" : `${found.length} files cannot be read and are left out`;
  const list = found.slice(0, 100).map(([path, problem]) => element("li", {}, element("b", {}, path), ` ${problem}`));
  find("problems").append(element("details", {}, element("summary", {}, words), element("ul", {}, ...list)));
  find("problems").hidden = false;
}

// Theme and controls

function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  find("theme").textContent = { auto: "◐", light: "☀", dark: "☾" }[name];
  find("theme").title = `Colours: ${name}`;
  find("theme").setAttribute("aria-label", `Colours: ${name}`);
}

function storedTheme() {
  try {
    const found = localStorage.getItem("nightrain-theme");
    return THEMES.includes(found) ? found : "auto";
  } catch { return "auto"; }
}

function connect() {
  find("theme").addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(storedTheme()) + 1) % THEMES.length];
    try { localStorage.setItem("nightrain-theme", next); } catch { /* private window */ }
    setTheme(next);
  });
  find("sort").append(
    element("option", { value: "" }, "as stored"), element("option", { value: "frame" }, "by frame"),
    ...dataset.measures.map((name) => element("option", { value: name }, name)));
  find("sort").addEventListener("change", () => setOne("sort", find("sort").value));
  find("direction").addEventListener("click", () => setFilter((query) => {
    if (query.has("descending")) query.delete("descending");
    else query.set("descending", "true");
  }));
  for (const [name, view] of [["to-grid", "grid"], ["to-statistics", "statistics"]]) {
    find(name).addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      go({ view, key: null });
    });
  }
  find("filters-button").addEventListener("click", () => showPanel());
  find("new").addEventListener("click", () => location.reload());
  find("help-button").addEventListener("click", () => find("help").showModal());
  find("sample").addEventListener("cancel", (event) => { event.preventDefault(); go({ key: null }); });
  find("sample").addEventListener("click", (event) => { if (event.target === find("sample")) go({ key: null }); });
  document.addEventListener("keydown", onKey);
  window.addEventListener("popstate", readAddress);
}

function showPanel(open = !document.body.classList.contains("panel")) {
  document.body.classList.toggle("panel", open);
  find("filters-button").setAttribute("aria-expanded", String(open));
  find("filters-button").textContent = open ? "Done" : "Filter";
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || find("help").open) return;
  if (isTyping(event.target)) {
    if (event.key === "Escape" && !find("sample").open) { event.target.blur(); showPanel(false); }
    return;
  }
  const isOpen = find("sample").open;
  if (event.key in VERDICT_KEYS && !event.repeat) verdict(VERDICT_KEYS[event.key]);
  else if (isOpen && event.key === "ArrowLeft") place.previous();
  else if (isOpen && event.key === "ArrowRight") place.next();
  else if (isOpen && event.key === "e" && find("reason")) find("reason").focus();
  else if (!isOpen && event.key === "/") { showPanel(true); find("text").focus(); }
  else if (!isOpen && event.key === "Escape") showPanel(false);
  else if (!isOpen && event.key === "?") find("help").showModal();
  else if (isOpen || state.view !== "grid" || !grid.key(event.key)) return;
  event.preventDefault();
}

async function start() {
  setTheme(storedTheme());
  try {
    dataset = await get("/api/dataset");
  } catch (error) {
    find("empty").textContent = error.message;
    find("empty").hidden = false;
    return;
  }
  find("name").textContent = dataset.name;
  document.title = `${dataset.name} - nightrain`;
  nameRecipes(dataset.recipes);
  buildFilters(dataset);
  showProblems();
  connect();
  let isFirst = true;
  onChange(async (filterChanged) => {
    const isNew = filterChanged || isFirst;
    isFirst = false;
    showView();
    if (isNew) await showCounts(true);
    await showSample();
  });
  await readAddress();
  document.body.dataset.ready = "true";
  watch();
}

start();
