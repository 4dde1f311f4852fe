// The marks of states, as in icons.html, for canvases; and the colours of the theme of the moment.

/** @typedef {{stroke?: string, fill?: string, knock?: string, dash?: number[], faint?: string, width?: number}} Mark */

const RING = "M13.75 8a5.75 5.75 0 1 1-11.5 0a5.75 5.75 0 1 1 11.5 0";
const DISC = "M14.5 8a6.5 6.5 0 1 1-13 0a6.5 6.5 0 1 1 13 0";
/** @type {Record<string, Mark>} */
const SHAPES = {
  waiting: { stroke: RING, dash: [2.2, 2.3] },
  ready: { stroke: RING, fill: "M9.25 8a1.25 1.25 0 1 1-2.5 0a1.25 1.25 0 1 1 2.5 0" },
  leased: { faint: RING, stroke: "M8 2.25A5.75 5.75 0 0 1 13.75 8", width: 2 },
  started: { stroke: "M8 2.25A5.75 5.75 0 1 1 2.25 8", width: 2 },
  joining: { stroke: "M3.5 2.5v2c0 3 4.5 2.5 4.5 6v3M12.5 2.5v2c0 3-4.5 2.5-4.5 6" },
  backoff: { stroke: `${RING}M8 4.75V8l2 1.5` },
  completed: { fill: DISC, knock: "M5.25 8.25l1.9 1.9 3.6-4" },
  failed: { fill: DISC, knock: "M5.9 5.9l4.2 4.2M10.1 5.9l-4.2 4.2" },
  dependency_failed: { stroke: `${RING}M6 6l4 4M10 6l-4 4` },
  cancelled: { stroke: `${RING}M4 12l8-8` },
};
const PATHS = Object.fromEntries(Object.entries(SHAPES).map(([state, shape]) => [state, Object.fromEntries(
  ["stroke", "fill", "knock", "faint"].filter((part) => shape[part]).map((part) => [part, new Path2D(shape[part])]))]));

/** The states that have not begun, and those that are at work. */
export const UNBEGUN = new Set(["waiting", "ready", "backoff"]);
export const BUSY = new Set(["leased", "started"]);
const WORDS = { leased: "running", started: "away", backoff: "backing off", dependency_failed: "dependency failed" };
export const ORDER = ["completed", "cancelled", "dependency_failed", "failed", "leased", "started", "joining", "backoff", "ready", "waiting"];

/** @param {string} state */
export const wordOf = (state) => WORDS[state] || state;
/** @param {number} count */
export const grouped = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, "\u202f");
/** @param {Record<string, number>} counts */
export const inWords = (counts) => ORDER.filter((state) => counts[state]).map((state) => `${grouped(counts[state])} ${wordOf(state)}`).join(", ");

/** The colours of the theme, by name. @returns {Record<string, any>} */
export const readColors = () => {
  const color = window.dagorama.color;
  const states = {}, softs = {};
  for (const state of Object.keys(SHAPES)) {
    const token = `--state-${BUSY.has(state) ? "running" : state.replace("_", "-")}`;
    states[state] = color(token);
    softs[state] = color(`${token}-soft`);
  }
  const plain = Object.fromEntries(["ink", "ink-2", "ink-3", "line", "line-2", "surface", "surface-2", "surface-3"].map((name) => [name, color(`--${name}`)]));
  const style = getComputedStyle(document.documentElement);
  return { states, softs, ...plain, sans: style.getPropertyValue("--font-sans") || "sans-serif" };
};

/**
 * Draw the mark of a state in a square.
 * @param {CanvasRenderingContext2D} context
 */
export const drawMark = (context, state, x, y, size, colors, turn = 0) => {
  const shape = SHAPES[state] || SHAPES.waiting, paths = PATHS[state] || PATHS.waiting;
  context.save();
  context.translate(x + size / 2, y + size / 2);
  if (turn && state === "leased") context.rotate(turn);
  context.scale(size / 16, size / 16);
  context.translate(-8, -8);
  context.lineWidth = shape.width || 1.5;
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = context.fillStyle = colors.states[state] || colors["ink-3"];
  if (paths.faint) { context.globalAlpha = 0.28; context.lineWidth = 1.5; context.stroke(paths.faint); context.globalAlpha = 1; context.lineWidth = shape.width || 1.5; }
  if (shape.dash) context.setLineDash(shape.dash);
  if (paths.fill) context.fill(paths.fill);
  if (paths.stroke) context.stroke(paths.stroke);
  if (paths.knock) { context.setLineDash([]); context.strokeStyle = colors.surface; context.stroke(paths.knock); }
  context.restore();
};

/** The mark of a state for the page, from the sprite in icons.html. */
export const markElement = (state) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", `icon s-${state}${BUSY.has(state) ? " turns" : ""}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", wordOf(state));
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${state === "leased" ? "running" : state}`);
  svg.append(use);
  return svg;
};
