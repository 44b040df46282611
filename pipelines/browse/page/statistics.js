// Statistics of the samples that the filter shows.

import { get } from "./api.js";
import { KINDS, barChart, histogram, legend } from "./charts.js";
import { element, find, number, toast } from "./dom.js";
import { recipeNames, setFilter, setRange, state } from "./state.js";

const CONDITIONS = ["clear", "dusk", "night", "rain", "night-rain", "snow", "fog"];
const TITLES = { condition: "Condition", recipe: "Recipe", split: "Split", code: "Reason code" };
let asked = 0;

const ofKind = (kind) => `kind-${kind}`;
const ofCondition = (name) => (CONDITIONS.includes(name) ? `condition-${name}` : "condition-other");

export async function showStatistics() {
  const turn = ++asked, query = state.query, box = find("statistics");
  try {
    const found = await get("/api/charts", query);
    if (turn !== asked) return;
    const luma = element("div", { class: "luma" }, element("p", { class: "quiet" }, "measuring luma..."));
    const kinds = KINDS.filter((kind) => found.bars.some((bar) => Object.values(bar.counts).some((of) => of[kind])));
    const bars = found.bars.map((bar) => barChart(TITLES[bar.name], bar.counts, kinds, ofKind, (value) => only(bar.name, value), bar.name === "recipe" ? recipeNames : () => ""));
    const byCondition = found.histograms.filter((one) => one.name === "severity");
    const isScore = (one) => one.name.includes(".");
    const byKind = found.histograms.filter((one) => one.name !== "severity").sort((a, b) => isScore(b) - isScore(a));
    box.replaceChildren(
      element("h2", {}, `${number(found.total)} samples`), legend(kinds, ofKind),
      element("div", { class: "charts" }, ...bars),
      element("h2", {}, "Severity and luma"), legend(CONDITIONS.filter((name) => found.bars[0]?.counts[name]), ofCondition),
      element("div", { class: "charts" }, ...byCondition.map((one) => drawnHistogram(one, CONDITIONS, ofCondition)), luma),
      ...(byKind.length ? [element("h2", {}, "Gate scores and other numbers"), legend(kinds, ofKind)] : []),
      element("div", { class: "charts" }, ...byKind.map((one) => drawnHistogram(one, KINDS, ofKind))),
    );
    const { sampled, unreadable, histogram: lumas } = await get("/api/luma", query);
    if (turn !== asked) return;
    const words = `mean luma of ${number(sampled)} evenly spaced pictures${unreadable ? `, ${unreadable} could not be read` : ""}`;
    luma.replaceChildren(lumas ? histogram(words, lumas, CONDITIONS, ofCondition, null) : element("p", { class: "quiet" }, "no pictures"));
  } catch (error) {
    toast(error.message);
  }
}

function drawnHistogram(one, order, classOf) {
  return histogram(one.name, one, order, classOf, (low, high) => setRange(one.name, +low.toPrecision(6), +high.toPrecision(6)));
}

function only(name, value) {
  setFilter((query) => { query.delete(name); query.append(name, value); });
}
