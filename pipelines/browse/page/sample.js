// Sample dialog: pictures with a slider, verdict, scores, provenance and all fields.

import { get, picturePath, review, samplePath, thumbnailPath } from "./api.js";
import { element, find, number, toast } from "./dom.js";
import { address, go, recipeWords } from "./state.js";

const VERDICTS = [["accept", "Accept", "a"], ["reject", "Reject", "r"], ["none", "No verdict", "u"]];
let shown = null, right = null, share = 50, asked = 0;

export const current = () => shown;

export async function openSample(key, onVerdict, place) {
  const dialog = find("sample"), turn = ++asked;
  if (!dialog.open) {
    dialog.replaceChildren(element("p", { class: "quiet" }, "reading..."));
    dialog.showModal();
  }
  try {
    const found = await get(samplePath(key));
    if (turn !== asked) return;
    shown = found;
    draw(dialog, onVerdict, place);
  } catch (error) {
    if (turn !== asked) return;
    shown = null;
    dialog.replaceChildren(element("div", { class: "sample-bar" }, element("p", {}, error.message), element("span", { class: "space" }), closeButton()));
  }
}

export function closeSample() {
  asked += 1;
  shown = null;
  if (find("sample").open) find("sample").close();
}

const closeButton = () => element("button", { type: "button", onclick: () => go({ key: null }), "aria-label": "Close", title: "Close (Esc)" }, "✕");

function draw(dialog, onVerdict, place) {
  const { key, condition, kind, scores, provenance, fields, problems } = shown;
  const isFrame = kind === "frame";
  const bar = element("div", { class: "sample-bar" },
    element("button", { type: "button", onclick: place.previous, "aria-label": "Previous", title: "Previous (left arrow)" }, "‹"),
    element("button", { type: "button", onclick: place.next, "aria-label": "Next", title: "Next (right arrow)" }, "›"),
    element("h2", {}, condition ?? kind, isFrame ? " frame" : shown.severity === null ? "" : ` ${shown.severity.toFixed(2)}`),
    kind === "rejected" || kind === "failed" ? element("span", { class: "badge bad" }, kind) : null,
    element("span", { class: "quiet", id: "place" }, place.words()),
    element("span", { class: "space" }),
    element("a", { class: "permalink", href: `/sample/${encodeURIComponent(key)}`, onclick: copyLink, title: "Copy the permalink" }, key),
    closeButton());
  const side = element("div", { class: "sample-side" },
    shown.reviewable ? reviewBox(onVerdict) : null,
    ...problems.map((text) => element("p", { class: "problem" }, text)),
    shown.message ? element("p", { class: "problem" }, shown.message) : null,
    shown.codes.length ? element("p", { class: "codes" }, ...shown.codes.map((code) => element("span", { class: "badge bad" }, code))) : null,
    shown.prompt ? section("Prompt", element("p", { class: "prompt" }, shown.prompt)) : null,
    shown.caption && shown.caption !== shown.prompt ? section("Caption", element("p", {}, shown.caption)) : null,
    Object.keys(scores).length ? section(`Gate scores${shown.gates ? ` (${shown.gates})` : ""}`, table(Object.entries(scores))) : null,
    shown.rejected_seeds.length ? section("Seeds that were rejected before", table(shown.rejected_seeds.map((one) => [`seed ${one?.seed}`, one?.codes ?? []]))) : null,
    Object.keys(provenance).length ? section("Provenance", table(Object.entries(provenance))) : null,
    section("All fields", table([...fields, ["file", shown.file.path], ["row", shown.file.row]])));
  const main = element("div", { class: "sample-main" }, ...viewer(), sameFrame());
  dialog.replaceChildren(bar, element("div", { class: "sample-columns" }, main, side));
  dialog.querySelector(".small-tile[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  dialog.focus();
}

const section = (title, ...content) => element("section", {}, element("h3", {}, title), ...content);

function table(rows) {
  return element("table", {}, element("tbody", {}, ...rows.flatMap(([name, value]) => {
    if (value && typeof value === "object" && !Array.isArray(value)) {
      return Object.entries(value).filter(([, inner]) => inner !== null).map(([inner, known]) => row(`${name}.${inner}`, known));
    }
    return value === null ? [] : [row(name, value)];
  })));
}

const row = (name, value) => element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, words(name, value)));

function words(name, value) {
  if (name === "recipe" && typeof value === "string") return recipeWords(value);
  if (Array.isArray(value)) return value.map((one) => (one && typeof one === "object" ? Object.values(one).join(" ") : number(one))).join(", ");
  if (typeof value === "number" && Number.isInteger(value)) return String(value);
  return typeof value === "number" ? number(value) : String(value);
}

// Pictures

function viewer() {
  const { pictures, size, key } = shown;
  if (!pictures.length) return [element("p", { class: "no-picture" }, shown.problems.length ? "The pictures cannot be read." : "This row has no picture.")];
  const left = pictures.find((one) => one.name === "clear") ?? pictures[0];
  const others = pictures.filter((one) => one !== left);
  const chosen = others.find((one) => one.name === right) ?? others[0];
  const stage = element("div", { class: "stage" });
  if (size) stage.style.aspectRatio = `${size[0]} / ${size[1]}`;
  const under = picture(left), over = chosen ? picture(chosen) : null;
  const labels = [element("span", { class: "label left" }, left.words)];
  stage.append(under);
  if (over) {
    over.classList.add("over");
    const line = element("div", { class: "line" });
    const slider = element("input", { type: "range", min: 0, max: 100, step: 0.1, value: share, "aria-label": `${left.words} or ${chosen.words}` });
    const move = () => {
      share = Number(slider.value);
      over.style.clipPath = `inset(0 0 0 ${share}%)`;
      line.style.left = `${share}%`;
    };
    slider.addEventListener("input", move);
    slider.addEventListener("pointerup", () => slider.blur());
    move();
    labels.push(element("span", { class: "label right" }, chosen.words));
    stage.append(over, line, slider);
  }
  stage.append(...labels);
  const buttons = others.map((one) => element("button", {
    type: "button", "aria-pressed": String(one === chosen),
    onclick: () => { right = one.name; redraw(); },
  }, one.words));
  function redraw() {
    const main = find("sample").querySelector(".sample-main");
    main.replaceChildren(...viewer(), sameFrame());
    main.querySelector("[aria-pressed=true]")?.focus();
  }
  return [stage, others.length > 1 ? element("div", { class: "picture-buttons", role: "group", "aria-label": "Picture on the right" }, ...buttons) : ""];
  function picture(one) {
    const image = element("img", { src: picturePath(key, one.name), alt: one.words, draggable: false });
    image.addEventListener("error", () => { stage.classList.add("broken"); });
    return image;
  }
}

function sameFrame() {
  const others = shown.of_frame.filter((one) => one.kind !== "failed");
  if (others.length < 2) return "";
  return section("Same frame", element("div", { class: "same-frame" }, ...others.map((one) => {
    const link = element("a", {
      href: address({ key: one.key }), class: "small-tile", title: one.recipe ? recipeWords(one.recipe) : one.kind,
      onclick: (event) => { event.preventDefault(); go({ key: one.key }, { replace: true }); },
    }, element("img", { src: thumbnailPath(one.key), alt: "", loading: "lazy" }),
    element("span", {}, `${one.condition ?? one.kind}${one.kind === "frame" ? " frame" : ""}`));
    link.dataset.kind = one.kind;
    link.dataset.verdict = one.verdict ?? "";
    if (one.key === shown.key) link.setAttribute("aria-current", "true");
    return link;
  })));
}

// Verdict

function reviewBox(onVerdict) {
  const verdict = shown.review?.verdict ?? "none";
  const reason = element("input", { type: "text", id: "reason", maxLength: 500, placeholder: "reason (optional)", value: shown.review?.reason ?? "", autocomplete: "off", "aria-label": "Reason" });
  reason.addEventListener("keydown", (event) => {
    if (event.key === "Enter") { event.preventDefault(); onVerdict(shown.review?.verdict ?? "reject"); }
  });
  const buttons = VERDICTS.map(([value, words, key]) => element("button", {
    type: "button", class: `verdict ${value}`, "aria-pressed": String(verdict === value),
    onclick: () => onVerdict(value), title: `key ${key}`,
  }, words, element("kbd", {}, key)));
  const by = shown.review && [shown.review.reviewer, shown.review.created_at.slice(0, 16).replace("T", " ")].filter(Boolean).join(", ");
  return element("div", { class: "review" }, element("div", { class: "verdicts", role: "group", "aria-label": "Verdict" }, ...buttons), reason, by ? element("p", { class: "quiet" }, `recorded ${by} UTC`) : null);
}

export async function giveVerdict(key, verdict, reason) {
  const { review: recorded } = await review(key, verdict, reason);
  if (shown?.key === key) {
    shown.review = recorded;
    for (const one of shown.of_frame) if (one.key === key) one.verdict = recorded?.verdict ?? null;
  }
  return recorded;
}

export function redrawSample(onVerdict, place) {
  if (!shown) return;
  const top = find("sample").querySelector(".sample-columns")?.scrollTop ?? 0;
  draw(find("sample"), onVerdict, place);
  find("sample").querySelector(".sample-columns").scrollTop = top;
}

export const typedReason = () => find("reason")?.value ?? "";

async function copyLink(event) {
  event.preventDefault();
  try {
    await navigator.clipboard.writeText(event.currentTarget.href);
    toast("The permalink is on the clipboard.");
  } catch {
    toast("The browser does not allow to copy; the address bar has the permalink.");
  }
}
