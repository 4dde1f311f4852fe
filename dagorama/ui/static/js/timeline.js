// The timeline of an instance: fetches the bars of the part that is shown, and lets people look around in it.

import { Fetching } from "./fetching.js";
import { grouped, markElement, readColors, wordOf } from "./marks.js";
import { go, hearPointers, placeTip } from "./pointing.js";
import { AXIS, LANE, draw, laneTop, lasting, namesOf, rowTops, timeAt } from "./timeline-draw.js";

const ZOOMED_MS = 140, GROWN_MS = 2000;
/** A stage with few workers is no higher than they are, and has room for what is told of a bar. */
const STAGE_MIN = 220;

class Timeline {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.canvas = root.querySelector("[data-timeline-canvas]");
    this.context = this.canvas.getContext("2d");
    this.word = root.querySelector("[data-timeline-word]");
    this.tip = root.querySelector(".drawing-tip");
    this.colors = readColors();
    this.showsPath = true; this.follows = true; this.over = null; this.scroll = 0; this.frames = 0; this.tops = []; this.tall = 0;
    this.rows = []; this.bars = []; this.gaps = []; this.pieces = [[0, 0, 1]]; this.nodes = {}; this.began = 0; this.length = 1; this.left = 0; this.right = 1;
    this.fetching = new Fetching(() => this.address(), (each) => this.take(each), () => this.fail());
    this.listen();
    this.resize();
    this.fetching.now();
  }

  /** The address of the bars of the part that is shown. */
  address() {
    const query = new URLSearchParams({ pixels: String(Math.round(Math.max(this.width - this.names, 200) * Math.min(this.ratio, 2))) });
    if (!this.follows) {
      // A screen more on both sides, so that dragging shows what is there.
      const wide = this.right - this.left;
      query.set("from", String(this.left - wide)); query.set("to", String(this.right + wide)); query.set("pixels", String(3 * Number(query.get("pixels"))));
    }
    return `${this.root.dataset.url}?${query}`;
  }

  fail() { if (!this.rows.length) this.word.textContent = "The times cannot be read now. It is tried again."; }

  take(told) {
    Object.assign(this, { rows: told.rows, bars: told.bars, gaps: told.gaps, pieces: told.pieces, nodes: told.nodes, began: told.began, length: told.length, path: told.path, url: told.url });
    const { tops, height } = rowTops(this.rows);
    this.tops = tops; this.tall = height;
    this.canvas.parentElement.style.maxHeight = `${Math.max(height + AXIS + 1, STAGE_MIN)}px`;
    this.over = null;
    if (this.follows) { this.left = 0; this.right = Math.max(this.length, 1e-6) * 1.01; }
    this.root.dataset.bars = String(this.bars.length);
    this.root.dataset.begun = String(told.begun);
    this.root.dataset.state = told.state;
    this.word.textContent = this.rows.length ? "" : "Nothing has run yet. Bars appear here as workers begin.";
    this.tellLists();
    this.paint();
  }

  tellLists() {
    const path = this.root.querySelector("[data-timeline-path]"), workers = this.root.querySelector("[data-timeline-workers]");
    const steps = this.path.filter((place) => this.nodes[place]).map((place) => {
      const [id, , name, label, state, , , started, returned] = this.nodes[place];
      return { mark: state, name: label || name, url: this.url + id, under: label ? name : "", end: started ? `${returned ? "" : "so far "}${lasting(Math.max((returned || Date.now() / 1000) - started, 0))}` : wordOf(state) };
    });
    fillList(path, steps);
    fillList(workers, this.rows.map((row) => ({ mark: "", name: row.worker, under: row.lanes > 1 ? `at most ${row.lanes} at once` : "", url: "", end: `${grouped(row.nodes)} ${row.nodes === 1 ? "run" : "runs"}` })));
  }

  // -- painting -------------------------------------------------------------------------------------------------------

  paint() {
    if (this.isPainting) return;
    this.isPainting = true;
    requestAnimationFrame(() => { this.isPainting = false; draw(this.context, this); this.frames += 1; });
  }

  resize() {
    const box = this.canvas.parentElement.getBoundingClientRect();
    this.ratio = window.devicePixelRatio || 1;
    this.width = box.width; this.height = box.height; this.names = namesOf(box.width);
    this.canvas.width = Math.round(box.width * this.ratio); this.canvas.height = Math.round(box.height * this.ratio);
    this.move(0, 0);
  }

  // -- looking around -------------------------------------------------------------------------------------------------

  zoom(factor, x = this.names + (this.width - this.names) / 2) {
    const part = Math.max((x - this.names) / (this.width - this.names), 0), wide = this.right - this.left, all = this.length * 1.01;
    const next = Math.min(Math.max(wide / factor, all / 2e5), all), place = this.left + part * wide;
    this.left = Math.min(Math.max(place - part * next, 0), all - next); this.right = this.left + next;
    this.follows = next >= all * 0.999;
    this.paint();
    this.fetching.soon(ZOOMED_MS);
  }

  move(dx, dy) {
    const wide = this.right - this.left, all = this.length * 1.01, shift = dx / Math.max(this.width - this.names, 1) * wide;
    this.left = Math.min(Math.max(this.left + shift, 0), Math.max(all - wide, 0)); this.right = this.left + wide;
    this.scroll = Math.min(Math.max(this.scroll + dy, 0), Math.max(this.tall + AXIS - this.height, 0));
    if (shift && !this.follows) this.fetching.soon(ZOOMED_MS);
    this.paint();
  }

  /** The bar at a point, or the nearest one in its lane: all of a row can be clicked. */
  at(x, y) {
    if (y < AXIS) return null;
    const scale = (this.right - this.left) / (this.width - this.names), place = this.left + (x - this.names) * scale;
    let found = null, least = x < this.names ? 0 : Infinity;
    for (const bar of this.bars) {
      const top = laneTop(this, bar[0]);
      if (y < top || y >= top + LANE) continue;
      const far = Math.max(bar[3] - place, place - bar[4], 0);
      if (far < least || (far === 0 && least > 0)) { found = bar; least = far; }
    }
    return found;
  }

  hover(x, y) {
    const bar = this.at(x, y);
    this.canvas.classList.toggle("is-over", Boolean(bar));
    if (bar !== this.over) { this.over = bar; this.tell(bar); this.paint(); }
    if (bar) placeTip(this.tip, x, y, this.width, this.height);
  }

  tell(bar) {
    this.tip.hidden = !bar;
    if (!bar) return;
    const title = document.createElement("b"), rows = document.createElement("div"), node = bar[6] === 1 ? this.nodes[bar[5]] : null;
    rows.className = "rows";
    const add = (word, value) => { const name = document.createElement("span"), told = document.createElement("span"); name.textContent = word; told.textContent = value; rows.append(name, told); };
    if (node && bar[8]) {
      const told = bar.slice(1, 5).map((place) => timeAt(this, place)), [ready, granted, started, ended] = told;
      title.textContent = node[3] ? `${node[2]} · ${node[3]}` : node[1];
      add("earlier attempt", "failed or was lost");
      add(bar[9] ? "after the attempt before" : "waited in a queue", lasting(Math.max(granted - ready, 0)));
      add("on its way", lasting(Math.max(started - granted, 0)));
      add("ran", lasting(Math.max(ended - started, 0)));
      add("began at", `+${lasting(Math.max(started, 0))}`);
    } else if (node) {
      const [, name, , label, state, created, granted, started, returned, finished, joined] = node, ready = this.began + timeAt(this, bar[1]);
      title.textContent = label ? `${name} · ${label}` : name;
      add("state", wordOf(state));
      if (!bar[9] && ready - created > 0.0005) add("waited for values", lasting(ready - created));
      add(bar[9] ? "after the attempt before" : "waited in a queue", lasting(Math.max((granted || started) - Math.max(ready, created), 0)));
      add("on its way", lasting(Math.max(started - (granted || started), 0)));
      add(returned ? "ran" : "has run", lasting(Math.max((returned || Date.now() / 1000) - started, 0)));
      if (returned && (joined || finished) - returned > 0.0005) add("reported after", lasting((joined || finished) - returned));
      if (joined && finished - joined > 0.0005) add("joined", lasting(finished - joined));
      add("began at", `+${lasting(Math.max(started - this.began, 0))}`);
    } else {
      title.textContent = `${grouped(bar[6])} runs, too narrow to tell apart`;
      add("from", `+${lasting(Math.max(timeAt(this, bar[3]), 0))}`);
      add("zoom in", "to see each");
    }
    this.tip.replaceChildren(title, rows);
  }

  click(x, y, event) {
    const bar = this.at(x, y);
    if (!bar) return;
    if (bar[6] > 1) { this.zoom(6, x); return; }
    go(this.url + this.nodes[bar[5]][0], event);
  }

  do(what, button) {
    if (what === "fit") { this.follows = true; this.scroll = 0; this.left = 0; this.right = this.length * 1.01; this.paint(); this.fetching.soon(); }
    if (what === "in") this.zoom(1.6);
    if (what === "out") this.zoom(1 / 1.6);
    if (what === "path") { this.showsPath = !this.showsPath; button.setAttribute("aria-pressed", String(this.showsPath)); this.paint(); }
  }

  listen() {
    new ResizeObserver(() => this.resize()).observe(this.canvas.parentElement);
    hearPointers(this.canvas, {
      over: (x, y) => this.hover(x, y), out: () => { this.over = null; this.tell(null); this.paint(); }, click: (x, y, event) => this.click(x, y, event),
      pan: (dx, dy) => this.move(-dx, -dy), zoom: (factor, x) => this.zoom(factor, x),
    });
    this.root.addEventListener("click", (event) => { const button = event.target.closest("[data-do]"); if (button) this.do(button.dataset.do, button); });
    document.addEventListener("keydown", (event) => {
      if (event.target.matches?.("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
      const step = { ArrowLeft: [-80, 0], ArrowRight: [80, 0], ArrowUp: [0, -40], ArrowDown: [0, 40] }[event.key];
      if (event.key === "0") this.do("fit"); else if (event.key === "+" || event.key === "=") this.do("in"); else if (event.key === "-") this.do("out");
      else if (step && event.target === this.canvas) { this.move(...step); event.preventDefault(); }
    });
    document.addEventListener("dagorama:theme", () => { this.colors = readColors(); this.paint(); });
    document.addEventListener("dagorama:change", ({ detail }) => { const id = this.root.dataset.instance; if (id in (detail.instances || {}) || id in (detail.nodes || {})) this.fetching.later(); });
    document.addEventListener("dagorama:shown", () => this.fetching.later());
    // What runs grows by itself.
    setInterval(() => { if (this.root.dataset.state === "running" && document.visibilityState === "visible") this.fetching.later(0); }, GROWN_MS);
  }
}

/** Show some items in a list; one that has not changed is left as it is. */
const fillList = (list, items) => {
  items.forEach(({ mark, name, under, end, url }, number) => {
    const told = JSON.stringify([mark, name, under, url]), known = list.children[number];
    if (known?.dataset.told === told) { known.querySelector(".number").textContent = end; return; }
    const item = document.createElement("li"), row = document.createElement("div"), words = document.createElement("div"), link = document.createElement(url ? "a" : "span"), below = document.createElement("span"), last = document.createElement("span");
    item.dataset.told = told;
    row.className = mark ? "item" : "item is-plain"; link.className = url ? "name row" : "name"; below.className = "under"; last.className = "number";
    link.textContent = link.title = name; below.textContent = under; last.textContent = end;
    if (url) link.href = url;
    words.append(link, below);
    row.append(...(mark ? [markElement(mark)] : []), words, last);
    item.append(row);
    if (known) known.replaceWith(item); else list.append(item);
  });
  while (list.children.length > items.length) list.lastChild.remove();
};

const root = document.getElementById("timeline");
if (root) root.timeline = new Timeline(root);
