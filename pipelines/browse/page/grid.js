// Virtual grid: only tiles near the view exist, and only pages near the view are loaded.

import { thumbnailPath } from "./api.js";
import { element } from "./dom.js";
import { address, recipeWords } from "./state.js";

const PAGE = 100, MOST_PAGES = 80, GAP = 10, CAPTION = 28, SETTLED_MS = 90;
const MOST_PIXELS = 8_000_000; // browsers draw no element that is much taller

export class Grid {
  constructor(scroller, canvas, { load, open }) {
    Object.assign(this, { scroller, canvas, load, open });
    this.total = 0;
    this.pages = new Map();
    this.waiting = new Map();
    this.tiles = new Map();
    this.spare = [];
    this.selected = 0;
    this.version = 0;
    this.lastTop = 0;
    scroller.addEventListener("scroll", () => this.request(), { passive: true });
    new ResizeObserver(() => { this.layout(); this.render(); }).observe(scroller);
  }

  reset(total) {
    this.version += 1;
    this.total = total;
    this.pages.clear();
    for (const [, controller] of this.waiting) controller.abort();
    this.waiting.clear();
    for (const [, tile] of this.tiles) this.recycle(tile);
    this.tiles.clear();
    this.selected = 0;
    this.scroller.scrollTop = 0;
    this.layout();
    this.render();
  }

  layout() {
    const width = this.scroller.clientWidth - 2 * GAP;
    if (width <= 0) return;
    const wanted = width < 600 ? 170 : 214;
    this.columns = Math.max(width < 300 ? 1 : 2, Math.floor((width + GAP) / (wanted + GAP)));
    this.tileWidth = Math.floor((width - GAP * (this.columns - 1)) / this.columns);
    this.rowHeight = Math.round(this.tileWidth * 9 / 16) + CAPTION + GAP;
    this.numRows = Math.ceil(this.total / this.columns);
    this.fullHeight = this.numRows * this.rowHeight + GAP;
    this.height = Math.min(this.fullHeight, MOST_PIXELS);
    this.canvas.style.height = `${this.height}px`;
    for (const [, tile] of this.tiles) this.recycle(tile);
    this.tiles.clear();
  }

  // Beyond the tallest element, the scroll bar stands for a share of the rows.
  get scale() {
    const view = this.scroller.clientHeight;
    return this.height > view ? (this.fullHeight - view) / (this.height - view) : 1;
  }

  request() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => { this.frame = 0; this.render(); });
  }

  render() {
    if (!this.columns) return;
    const view = this.scroller.clientHeight, top = this.scroller.scrollTop;
    const from = top * this.scale, shift = from - top;
    const first = Math.max(0, Math.floor((from - view / 2) / this.rowHeight)) * this.columns;
    const last = Math.min(this.total, Math.ceil((from + 1.5 * view) / this.rowHeight) * this.columns);
    for (const [index, tile] of this.tiles) {
      if (index < first || index >= last) { this.recycle(tile); this.tiles.delete(index); }
    }
    const isFast = Math.abs(top - this.lastTop) > view / 2;
    this.lastTop = top;
    for (let index = first; index < last; index += 1) this.place(index, shift, isFast);
    clearTimeout(this.settling);
    if (isFast) this.settling = setTimeout(() => this.settle(first, last), SETTLED_MS);
    else this.settle(first, last);
  }

  settle(first, last) {
    for (const [index] of this.tiles) this.fill(index, false);
    const wanted = new Set();
    for (let page = Math.floor(first / PAGE); page * PAGE < last; page += 1) wanted.add(page);
    for (const [page, controller] of this.waiting) {
      if (!wanted.has(page)) { controller.abort(); this.waiting.delete(page); }
    }
    for (const page of wanted) this.fetch(page).catch(() => {});
  }

  place(index, shift, isFast) {
    let tile = this.tiles.get(index);
    if (!tile) {
      tile = this.spare.pop() ?? this.make();
      tile.root.style.width = `${this.tileWidth}px`;
      tile.root.style.height = `${this.rowHeight - GAP}px`;
      tile.root.dataset.index = index;
      if (!tile.root.isConnected) this.canvas.append(tile.root);
      tile.root.hidden = false;
      this.tiles.set(index, tile);
      this.fill(index, isFast);
    }
    const x = GAP + (index % this.columns) * (this.tileWidth + GAP);
    const y = GAP + Math.floor(index / this.columns) * this.rowHeight - shift;
    tile.root.style.transform = `translate(${x}px, ${y}px)`;
  }

  make() {
    const image = element("img", { alt: "", decoding: "async", draggable: false });
    image.addEventListener("error", () => { if (image.hasAttribute("src")) root.classList.add("broken"); });
    image.addEventListener("load", () => root.classList.add("loaded"));
    const condition = element("b"), words = element("span"), mark = element("i");
    const root = element("a", { class: "tile" }, image, element("span", { class: "caption" }, condition, words, mark));
    root.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      this.selected = Number(root.dataset.index);
      if (root.dataset.key) this.open(root.dataset.key, this.selected);
    });
    root.addEventListener("focus", () => { this.selected = Number(root.dataset.index); });
    return { root, image, condition, words, mark };
  }

  recycle(tile) {
    tile.image.removeAttribute("src");
    tile.root.hidden = true;
    tile.root.className = "tile";
    delete tile.root.dataset.key;
    tile.root.removeAttribute("href");
    tile.condition.textContent = tile.words.textContent = tile.mark.textContent = "";
    this.spare.push(tile);
  }

  fill(index, isFast) {
    const tile = this.tiles.get(index), item = this.known(index);
    if (!tile || !item) return;
    if (tile.root.dataset.key !== item.key) {
      tile.root.dataset.key = item.key;
      tile.root.classList.remove("loaded", "broken");
      tile.image.removeAttribute("src");
      tile.condition.textContent = item.condition ?? item.kind;
      tile.words.textContent = item.severity === null ? (item.kind === "frame" ? "frame" : "") : item.severity.toFixed(2);
      tile.root.title = [item.scene_id, item.camera, item.recipe && recipeWords(item.recipe), ...(item.codes ?? [])].filter(Boolean).join(" · ");
    }
    tile.root.href = address({ key: item.key });
    tile.root.dataset.kind = item.kind;
    tile.root.dataset.verdict = item.verdict ?? "";
    tile.mark.textContent = { accept: "accepted", reject: "rejected" }[item.verdict] ?? (item.kind === "rejected" || item.kind === "failed" ? item.codes?.[0] ?? item.kind : "");
    const words = [item.condition, item.kind, item.scene_id, item.verdict && `verdict ${item.verdict}`];
    tile.root.setAttribute("aria-label", words.filter(Boolean).join(", "));
    if (!isFast && !tile.image.hasAttribute("src") && !tile.root.classList.contains("broken")) {
      tile.image.src = thumbnailPath(item.key);
    }
  }

  known(index) { return this.pages.get(Math.floor(index / PAGE))?.[index % PAGE]; }

  async item(index) {
    if (index < 0 || index >= this.total) return undefined;
    await this.fetch(Math.floor(index / PAGE));
    return this.known(index);
  }

  async fetch(page) {
    if (this.pages.has(page)) return;
    if (this.waiting.has(page)) { await this.waiting.get(page).done; return; }
    const controller = new AbortController(), version = this.version;
    this.waiting.set(page, controller);
    controller.done = this.load(page * PAGE, PAGE, controller.signal);
    try {
      const found = await controller.done;
      if (version !== this.version) return;
      this.pages.set(page, found);
      for (const old of [...this.pages.keys()].slice(0, -MOST_PAGES)) this.pages.delete(old);
      for (const [index] of this.tiles) if (Math.floor(index / PAGE) === page) this.fill(index, false);
    } finally {
      if (this.waiting.get(page) === controller) this.waiting.delete(page);
    }
  }

  mark(key, verdict) {
    for (const items of this.pages.values()) for (const item of items) if (item.key === key) item.verdict = verdict;
    for (const [index, tile] of this.tiles) if (tile.root.dataset.key === key) this.fill(index, true);
  }

  select(index, { focus = true } = {}) {
    if (!this.total) return;
    this.selected = Math.max(0, Math.min(this.total - 1, index));
    const view = this.scroller.clientHeight, row = Math.floor(this.selected / this.columns);
    const from = this.scroller.scrollTop * this.scale, y = row * this.rowHeight;
    if (y < from) this.scroller.scrollTop = y / this.scale;
    else if (y + this.rowHeight + GAP > from + view) this.scroller.scrollTop = (y + this.rowHeight + GAP - view) / this.scale;
    this.render();
    if (focus) this.tiles.get(this.selected)?.root.focus({ preventScroll: true });
  }

  key(name) {
    const rows = Math.max(1, Math.floor(this.scroller.clientHeight / this.rowHeight));
    const steps = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns,
      PageUp: -rows * this.columns, PageDown: rows * this.columns, Home: -this.total, End: this.total,
    };
    if (!(name in steps)) return false;
    const focused = document.activeElement?.classList.contains("tile");
    this.select(focused ? this.selected + steps[name] : this.selected);
    return true;
  }
}
