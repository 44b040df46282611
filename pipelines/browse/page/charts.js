// Charts as inline SVG: stacked bars by value, and stacked histograms.

import { drawn, element, number } from "./dom.js";

export const KINDS = ["variant", "rejected", "failed", "frame"];
const HEIGHT = 90;

export function legend(groups, classOf) {
  return element("p", { class: "legend" }, ...groups.map((group) =>
    element("span", {}, element("i", { class: `swatch ${classOf(group)}` }), group)));
}

export function barChart(title, counts, groups, classOf, onPick, nameOf = () => "") {
  const rows = Object.entries(counts).map(([value, of]) => [value, of, groups.reduce((sum, group) => sum + (of[group] ?? 0), 0)]);
  const most = Math.max(1, ...rows.map(([, , total]) => total));
  return element("figure", { class: "chart" }, element("figcaption", {}, title), ...rows.map(([value, of, total]) => {
    let x = 0;
    const parts = groups.filter((group) => of[group]).map((group) => {
      const width = 100 * of[group] / most;
      const part = drawn("rect", { x, y: 0, width, height: 10, class: classOf(group) }, drawn("title", {}, `${group}: ${number(of[group])}`));
      x += width;
      return part;
    });
    const svg = drawn("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, ...parts);
    return element("button", { type: "button", class: "bar-row", title: `Show only ${value}`, onclick: () => onPick(value) },
      element("span", { class: "value" }, ...(nameOf(value) ? [nameOf(value), " ", element("small", {}, value)] : [value])), svg, element("span", { class: "count" }, number(total)));
  }));
}

export function histogram(title, { lowest, highest, groups }, order, classOf, onPick) {
  const names = Object.keys(groups).sort((a, b) => order.indexOf(a) - order.indexOf(b));
  const numBins = groups[names[0]].length, step = (highest - lowest) / numBins;
  const totals = Array.from({ length: numBins }, (_, bin) => names.reduce((sum, name) => sum + groups[name][bin], 0));
  const most = Math.max(1, ...totals);
  const bins = totals.map((total, bin) => {
    const from = lowest + bin * step, words = [`${number(from)} to ${number(from + step)}: ${number(total)}`];
    let below = 0;
    const parts = [];
    for (const name of names) {
      const count = groups[name][bin], tall = HEIGHT * count / most;
      if (!count) continue;
      below += tall;
      words.push(`${name} ${number(count)}`);
      parts.push(drawn("rect", { x: bin + 0.04, y: HEIGHT - below, width: 0.92, height: tall, class: classOf(name) }));
    }
    const whole = drawn("rect", { x: bin, y: 0, width: 1, height: HEIGHT, class: "whole" });
    const group = drawn("g", { class: onPick ? "bin pick" : "bin" }, drawn("title", {}, words.join("\n")), whole, ...parts);
    if (onPick) group.addEventListener("click", () => onPick(from, from + step));
    return group;
  });
  const svg = drawn("svg", { viewBox: `0 0 ${numBins} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `histogram of ${title} from ${number(lowest)} to ${number(highest)}` }, ...bins);
  const axis = element("div", { class: "axis" }, element("span", {}, number(lowest)), element("span", {}, number((lowest + highest) / 2)), element("span", {}, number(highest)));
  return element("figure", { class: "chart histogram" }, element("figcaption", {}, title), svg, axis);
}
