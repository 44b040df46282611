// Filter panel: values with their counts, ranges of numbers, scene and text.

import { element, find, number } from "./dom.js";
import { FACETS, endsOf, measureOf, recipeNames, recipeWords, setFilter, setOne, setRange, state, toggle } from "./state.js";

const NAMES = {
  kind: "Kind", condition: "Condition", recipe: "Recipe", engine: "Engine", split: "Split",
  camera: "Camera", source: "Source", verdict: "Verdict", code: "Reason code",
};
const FEW = 8;
const expanded = new Set(), extraRanges = new Set();
const lists = {};
let ranges, text, scene, measures = [];

export function buildFilters(dataset) {
  measures = dataset.measures;
  text = element("input", { type: "search", id: "text", placeholder: "prompt, caption, id, scene", maxLength: 300, autocomplete: "off" });
  scene = element("input", { type: "search", id: "scene", placeholder: "part of its name", maxLength: 300, autocomplete: "off" });
  scene.setAttribute("list", "scenes");
  const scenes = element("datalist", { id: "scenes" }, ...dataset.scenes.map(([name]) => element("option", { value: name })));
  debounced(text, (value) => setOne("text", value));
  debounced(scene, (value) => setOne("scene", value));
  const form = element("form", { onsubmit: (event) => event.preventDefault() },
    element("div", { class: "field" }, element("label", { for: "text" }, "Text"), text));
  for (const facet of FACETS) {
    lists[facet] = element("ul");
    form.append(element("details", { open: facet !== "source" && facet !== "camera", class: "facet" }, element("summary", {}, NAMES[facet]), lists[facet]));
  }
  ranges = element("div", { class: "ranges" });
  const more = element("select", { id: "more-ranges", "aria-label": "Add a range", onchange: () => { extraRanges.add(more.value); showRanges(); } });
  form.append(
    element("div", { class: "field" }, element("label", { for: "scene" }, "Scene"), scene, scenes),
    element("details", { open: true }, element("summary", {}, "Ranges"), ranges, more),
    element("button", { type: "button", onclick: () => setFilter((query) => [...query.keys()].forEach((name) => query.delete(name))) }, "Reset"),
  );
  find("filters").append(form);
  showRanges();
}

function debounced(input, apply) {
  let timer = 0;
  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => apply(input.value.trim()), 250); });
}

function showRanges() {
  const active = new Map(state.query.getAll("between").map((one) => [measureOf(one), endsOf(one)]));
  const shown = measures.filter((name) => name === "severity" || extraRanges.has(name) || active.has(name));
  ranges.replaceChildren(...shown.map((name) => rangeRow(name, active.get(name) ?? [null, null])));
  const select = find("more-ranges");
  const rest = measures.filter((name) => !shown.includes(name));
  select?.replaceChildren(element("option", { value: "" }, "add a range..."), ...rest.map((name) => element("option", { value: name }, name)));
  if (select) select.hidden = !rest.length;
}

function rangeRow(name, [low, high]) {
  const [from, to] = [low, high].map((end, side) => element("input", {
    type: "number", step: "any", value: end ?? "", placeholder: side ? "highest" : "lowest",
    "aria-label": `${side ? "highest" : "lowest"} ${name}`,
  }));
  const apply = () => setRange(name, ...[from, to].map((end) => (end.value === "" ? null : Number(end.value))));
  from.addEventListener("change", apply);
  to.addEventListener("change", apply);
  return element("div", { class: "range" }, element("span", { title: name }, name), from, element("span", {}, "to"), to);
}

export function showFacets(facets) {
  for (const facet of FACETS) {
    const found = new Map(facets[facet]);
    for (const value of state.query.getAll(facet)) if (!found.has(value)) found.set(value, 0);
    const values = [...found];
    lists[facet].parentElement.hidden = !values.some(([value]) => value !== "none");
    const shown = expanded.has(facet) ? values : values.slice(0, FEW);
    const focused = lists[facet].contains(document.activeElement) ? document.activeElement.value : null;
    lists[facet].replaceChildren(...shown.map(([value, count]) => facetRow(facet, value, count)));
    if (values.length > FEW) {
      const words = expanded.has(facet) ? "show fewer" : `show all ${values.length}`;
      const turn = () => { if (!expanded.delete(facet)) expanded.add(facet); showFacets(facets); };
      lists[facet].append(element("li", {}, element("button", { type: "button", class: "link", onclick: turn }, words)));
    }
    if (focused !== null) [...lists[facet].querySelectorAll("input")].find((one) => one.value === focused)?.focus();
  }
  if (document.activeElement !== text) text.value = state.query.get("text") ?? "";
  if (document.activeElement !== scene) scene.value = state.query.get("scene") ?? "";
  if (!ranges.contains(document.activeElement)) showRanges();
}

function facetRow(facet, value, count) {
  const box = element("input", { type: "checkbox", value, checked: state.query.has(facet, value), onchange: () => toggle(facet, value) });
  const names = facet === "recipe" ? recipeNames(value) : "";
  const words = names ? [names, " ", element("small", {}, value)] : [value];
  const label = element("label", { title: names ? recipeWords(value) : value }, box, element("span", { class: "value" }, ...words), element("span", { class: "count" }, number(count)));
  return element("li", { class: count ? "" : "none" }, label);
}

function rangeWords(name, low, high) {
  if (low !== null && high !== null) return `${name} ${number(low)}–${number(high)}`;
  return low === null ? `${name} ≤ ${number(high)}` : `${name} ≥ ${number(low)}`;
}

export function showChips() {
  const chips = [];
  const add = (words, remove) => chips.push(element("button", { type: "button", class: "chip", title: "Remove this filter", onclick: remove }, words, element("span", { "aria-hidden": "true" }, " ×")));
  for (const facet of FACETS) for (const value of state.query.getAll(facet)) add(`${NAMES[facet]}: ${facet === "recipe" ? recipeWords(value) : value}`, () => toggle(facet, value));
  for (const name of ["scene", "text", "frame"]) if (state.query.get(name)) add(`${name}: ${state.query.get(name)}`, () => setOne(name, ""));
  for (const one of state.query.getAll("between")) {
    const name = measureOf(one), [low, high] = endsOf(one);
    add(rangeWords(name, low, high), () => setRange(name, null, null));
  }
  find("chips").replaceChildren(...chips);
}
