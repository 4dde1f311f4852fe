// The graph of an instance: fetches the picture, moves what has moved, and lets people look around in it.

import { Camera } from "./camera.js";
import { Fetching } from "./fetching.js";
import { cellAt, draw } from "./graph-draw.js";
import { showList } from "./graph-list.js";
import { grouped, inWords, readColors, wordOf } from "./marks.js";
import { go, hearPointers, placeTip } from "./pointing.js";

const MOVE_MS = 360, TURN_MS = 1600, TURN_STEP_MS = 50;

class Graph {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.canvas = root.querySelector("[data-graph-canvas]");
    this.context = this.canvas.getContext("2d");
    this.list = root.querySelector("[data-graph-list]");
    this.word = root.querySelector("[data-graph-word]");
    this.tip = root.querySelector(".drawing-tip");
    this.search = root.querySelector("[data-graph-search]");
    this.found = root.querySelector("[data-graph-found]");
    this.camera = new Camera(() => this.paint());
    this.vertices = new Map();
    this.edges = [];
    this.opened = new Map(new URLSearchParams(location.hash.slice(1)).getAll("open").map((each) => [each, ""]));
    this.over = null; this.overCell = -1; this.lit = null; this.showsPath = true;
    this.colors = readColors();
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.frames = 0;
    this.isToTidy = false;
    this.fetching = new Fetching(() => this.address(), (told) => this.take(told), () => this.fail());
    this.listen();
    this.resize();
    this.fetching.now();
  }

  // -- what there is --------------------------------------------------------------------------------------------------

  /** The address of the picture with the groups that are open. */
  address() {
    const query = new URLSearchParams([...this.opened].map(([key, cursor]) => ["open", `${key} ${cursor}`]));
    if (this.isToTidy) query.set("tidy", "1");
    this.isToTidy = false;
    return `${this.root.dataset.url}?${query}`;
  }

  fail() { if (!this.vertices.size) this.word.textContent = "The graph cannot be read now. It is tried again."; }

  take({ vertices, edges, state }) {
    const before = this.vertices, isFirst = !before.size, now = performance.now();
    const makers = new Map(edges.map((edge) => [edge.target, edge.source]));
    this.vertices = new Map();
    for (const vertex of vertices) {
      const old = before.get(vertex.key), maker = before.get(makers.get(vertex.key));
      const from = old ? { x: old.x, y: old.y, width: old.width, height: old.height, fade: old.fade } : maker ? { x: maker.x + maker.width / 2, y: maker.y, fade: 0 } : { fade: 0 };
      vertex.goal = { x: vertex.x, y: vertex.y, width: vertex.width, height: vertex.height, fade: 1 };
      vertex.from = { ...vertex.goal, ...(isFirst || this.calm.matches ? {} : from) };
      Object.assign(vertex, vertex.from);
      this.vertices.set(vertex.key, vertex);
    }
    this.edges = edges;
    this.movedAt = now;
    this.root.querySelector("[data-do=path]").hidden = !vertices.some((vertex) => vertex.critical);
    this.root.dataset.vertices = String(vertices.length);
    this.root.dataset.state = state;
    this.word.textContent = vertices.length ? "" : "No calls yet. Nodes appear here as they are called.";
    const after = new Map();
    for (const edge of edges) { const name = this.vertices.get(edge.target); after.set(edge.source, [...(after.get(edge.source) || []), name.label || name.name]); }
    showList(this.list, this.vertices, after, { toggle: (key) => this.toggle(key), next: (key) => this.next(key), show: (key) => this.point(key) });
    this.find();
    if (this.camera.follows) this.fit(!isFirst);
    this.paint();
  }

  bounds() {
    let left = Infinity, top = Infinity, right = -Infinity, bottom = -Infinity;
    for (const { goal } of this.vertices.values()) { left = Math.min(left, goal.x); top = Math.min(top, goal.y); right = Math.max(right, goal.x + goal.width); bottom = Math.max(bottom, goal.y + goal.height); }
    return left < right ? { x: left, y: top, width: right - left + 8, height: bottom - top + 8 } : { x: 0, y: 0, width: 1, height: 1 };
  }

  fit(eased = true) { this.camera.follows = true; this.camera.fit(this.bounds(), eased); }

  toggle(key) {
    if (!this.opened.delete(key)) this.opened.set(key, "");
    this.keep();
  }

  next(key) { this.opened.set(key, this.vertices.get(key)?.part?.next || ""); this.keep(); }

  keep() {
    const hash = new URLSearchParams([...this.opened.keys()].map((key) => ["open", key])).toString();
    history.replaceState(history.state, "", hash ? `#${hash}` : location.pathname + location.search);
    this.fetching.soon();
  }

  // -- painting -------------------------------------------------------------------------------------------------------

  paint() {
    if (this.isPainting) return;
    this.isPainting = true;
    requestAnimationFrame((now) => { this.isPainting = false; this.frame(now); });
  }

  frame(now) {
    const part = Math.min((now - (this.movedAt || 0)) / MOVE_MS, 1), eased = 1 - (1 - Math.max(part, 0)) ** 3;
    let goesOn = part < 1, turns = false;
    for (const vertex of this.vertices.values()) {
      if (vertex.from) { for (const name in vertex.goal) vertex[name] = vertex.from[name] + (vertex.goal[name] - vertex.from[name]) * eased; if (part >= 1) vertex.from = null; }
      turns ||= Boolean(vertex.counts.leased);
    }
    goesOn = this.camera.step(now) || goesOn;
    const turn = this.calm.matches ? 0 : (now % TURN_MS) / TURN_MS * 2 * Math.PI;
    draw(this.context, { ...this, camera: this.camera, ratio: this.ratio, turn });
    this.frames += 1;
    if (goesOn) this.paint();
    // Marks that turn need no more than that.
    else if (turns && !this.calm.matches && !this.turning) this.turning = setTimeout(() => { this.turning = 0; this.paint(); }, TURN_STEP_MS);
  }

  resize() {
    const box = this.canvas.parentElement.getBoundingClientRect();
    this.ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(box.width * this.ratio); this.canvas.height = Math.round(box.height * this.ratio);
    this.camera.width = box.width; this.camera.height = box.height;
    if (this.camera.follows) this.fit(false); else this.paint();
  }

  // -- looking around -------------------------------------------------------------------------------------------------

  at(x, y) {
    const [px, py] = this.camera.at(x, y);
    for (const vertex of [...this.vertices.values()].reverse()) if (px >= vertex.x && px <= vertex.x + vertex.width && py >= vertex.y && py <= vertex.y + vertex.height) return [vertex, vertex.part ? cellAt(vertex, px, py) : -1];
    return [null, -1];
  }

  hover(x, y) {
    const [vertex, cell] = this.at(x, y), key = vertex?.key ?? null;
    this.canvas.classList.toggle("is-over", Boolean(vertex));
    if (key !== this.over || cell !== this.overCell) { this.over = key; this.overCell = cell; this.tell(vertex, cell); this.paint(); }
    if (vertex) placeTip(this.tip, x, y, this.camera.width, this.camera.height);
  }

  tell(vertex, cell) {
    this.tip.hidden = !vertex;
    if (!vertex) return;
    const node = cell >= 0 ? vertex.part.cells[cell] : null;
    const title = document.createElement("b"), words = document.createElement("span");
    title.textContent = node ? node.label || node.id : `${vertex.function}${vertex.label ? ` · ${vertex.label}` : ""}`;
    words.textContent = node ? wordOf(node.state) : vertex.group ? `${grouped(vertex.total)} nodes${vertex.maker ? `, made by ${vertex.maker}` : ""}: ${inWords(vertex.counts)}. ${vertex.part ? "Click to fold." : "Click to open."}` : `${wordOf(vertex.state)}${vertex.critical ? " · on the critical path" : ""}`;
    this.tip.replaceChildren(title, words);
  }

  click(x, y, event) {
    const [vertex, cell] = this.at(x, y);
    if (!vertex) return;
    if (cell >= 0) go(vertex.part.cells[cell].url, event);
    else if (cell === -2 && vertex.part.next) this.next(vertex.key);
    else if (vertex.group) this.toggle(vertex.key);
    else go(vertex.url, event);
  }

  /** Light up a vertex that the list has come to. */
  point(key) {
    const vertex = this.vertices.get(key);
    if (!vertex) return;
    this.over = key; this.overCell = -1;
    const { x, y, width, height } = vertex.goal, [left, top] = this.camera.at(0, 0), [right, bottom] = this.camera.at(this.camera.width, this.camera.height);
    if (x < left || y < top || x + width > right || y + height > bottom) this.camera.center(x + width / 2, y + height / 2);
    this.paint();
  }

  find() {
    const words = this.search.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (vertex) => words.every((word) => `${vertex.function} ${vertex.label} ${vertex.maker} ${wordOf(vertex.state)} ${(vertex.part?.cells || []).map((cell) => cell.label).join(" ")}`.toLowerCase().includes(word));
    this.lit = words.length ? new Set([...this.vertices.values()].filter(fits).map((vertex) => vertex.key)) : null;
    this.found.textContent = this.lit ? `${this.lit.size} found` : "";
    for (const item of this.list.children) { item.hidden = Boolean(this.lit) && !this.lit.has(item.dataset.key); item.firstChild.classList.toggle("is-lit", Boolean(this.lit?.has(item.dataset.key))); }
    this.paint();
  }

  do(what, button) {
    if (what === "fit") this.fit();
    if (what === "in") this.camera.zoom(1.35);
    if (what === "out") this.camera.zoom(1 / 1.35);
    if (what === "tidy") { this.camera.follows = true; this.isToTidy = true; this.fetching.soon(); }
    if (what === "path") { this.showsPath = !this.showsPath; button.setAttribute("aria-pressed", String(this.showsPath)); this.paint(); }
  }

  listen() {
    new ResizeObserver(() => this.resize()).observe(this.canvas.parentElement);
    hearPointers(this.canvas, {
      over: (x, y) => this.hover(x, y), out: () => { this.over = null; this.tell(null); this.paint(); }, click: (x, y, event) => this.click(x, y, event),
      pan: (dx, dy) => this.camera.pan(dx, dy), zoom: (factor, x, y) => this.camera.zoom(factor, x, y),
    });
    this.root.addEventListener("click", (event) => { const button = event.target.closest("[data-do]"); if (button) this.do(button.dataset.do, button); });
    this.search.addEventListener("input", () => this.find());
    this.search.addEventListener("keydown", (event) => { if (event.key === "Enter" && this.lit?.size) this.point([...this.lit][0]); });
    document.addEventListener("keydown", (event) => {
      if (event.target.matches?.("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
      const step = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
      if (event.key === "0") this.do("fit"); else if (event.key === "+" || event.key === "=") this.do("in"); else if (event.key === "-") this.do("out");
      else if (step && !event.target.closest?.(".drawing-list, a, button")) { this.camera.pan(...step); event.preventDefault(); }
    });
    document.addEventListener("dagorama:theme", () => { this.colors = readColors(); this.paint(); });
    document.addEventListener("dagorama:change", ({ detail }) => { const id = this.root.dataset.instance; if (id in (detail.instances || {}) || id in (detail.nodes || {})) this.fetching.later(); });
    document.addEventListener("dagorama:shown", () => this.fetching.later());
    document.addEventListener("visibilitychange", () => this.paint());
  }
}

const root = document.getElementById("graph");
if (root) root.graph = new Graph(root);
