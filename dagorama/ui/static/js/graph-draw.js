// Draws a graph on a canvas: cards for nodes and groups, ways for what goes from one to another. Far off it draws less.

import { BUSY, ORDER, UNBEGUN, drawMark, grouped, wordOf } from "./marks.js";

/** From these scales on there are texts on cards, and marks alone. */
const READABLE = 0.42, MARKED = 0.18;

/** @typedef {{key: string, x: number, y: number, width: number, height: number, name: string, function: string, maker: string, label: string, state: string, counts: Record<string, number>, total: number, group: boolean, critical: boolean, url: string, part?: {cells: {id: string, state: string, label: string, url: string}[], first: number, next: string, cell: [number, number], columns: number}, fade?: number}} Vertex */
/** @typedef {{source: string, target: string, call: boolean, count: number, points: [number, number][]}} Edge */

/**
 * @param {CanvasRenderingContext2D} context
 * @param {{vertices: Map<string, Vertex>, edges: Edge[], camera: any, colors: any, ratio: number, turn: number, lit: Set<string> | null, over: string | null, overCell: number, showsPath: boolean}} scene
 */
export const draw = (context, scene) => {
  const { camera, ratio, colors } = scene;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, camera.width, camera.height);
  if (camera.scale > 0.25) dots(context, camera, colors);
  context.setTransform(ratio * camera.scale, 0, 0, ratio * camera.scale, ratio * camera.x, ratio * camera.y);
  const [left, top] = camera.at(0, 0), [right, bottom] = camera.at(camera.width, camera.height);
  const view = { left, top, right, bottom };
  const strong = [];
  for (const edge of scene.edges) {
    const source = scene.vertices.get(edge.source), target = scene.vertices.get(edge.target);
    if (!source || !target) continue;
    const isOver = scene.over !== null && (scene.over === edge.source || scene.over === edge.target);
    const isPath = scene.showsPath && source.critical && target.critical;
    if (isOver || isPath) { strong.push([edge, source, target, isOver]); continue; }
    drawEdge(context, scene, edge, source, target, view, false, false);
  }
  for (const [edge, source, target, isOver] of strong) drawEdge(context, scene, edge, source, target, view, isOver, true);
  for (const vertex of scene.vertices.values()) {
    if (vertex.x > right + 12 || vertex.x + vertex.width < left - 12 || vertex.y > bottom + 12 || vertex.y + vertex.height < top - 12) continue;
    drawVertex(context, scene, vertex);
  }
};

/** A quiet grid, by which the eye sees that it moves. */
const dots = (context, camera, colors) => {
  const step = 24 * camera.scale * (camera.scale < 0.6 ? 2 : 1);
  context.fillStyle = colors["line-2"];
  context.globalAlpha = 0.55;
  for (let x = ((camera.x % step) + step) % step; x < camera.width; x += step) for (let y = ((camera.y % step) + step) % step; y < camera.height; y += step) context.fillRect(x, y, 1, 1);
  context.globalAlpha = 1;
};

const drawEdge = (context, scene, edge, source, target, view, isOver, isStrong) => {
  const { colors, camera } = scene;
  const points = edge.points, x1 = source.x + source.width + (source.group && !source.part ? 8 : 0), y1 = anchor(source), x2 = target.x, y2 = anchor(target);
  if (Math.max(x1, x2) < view.left || Math.min(x1, x2) > view.right) return;
  const ys = points.length ? points.map((point) => point[1]) : [];
  if (Math.max(y1, y2, ...ys) < view.top || Math.min(y1, y2, ...ys) > view.bottom) return;
  const isDim = scene.lit && !(scene.lit.has(edge.source) && scene.lit.has(edge.target));
  const isFlowing = BUSY.has(target.state) && !edge.call;
  context.globalAlpha = (isDim && !isStrong ? 0.15 : isStrong || isFlowing ? 1 : 0.5) * Math.min(source.fade ?? 1, target.fade ?? 1);
  context.strokeStyle = context.fillStyle = isStrong ? colors[isOver ? "ink" : "ink-2"] : isFlowing ? colors.states.leased : colors["ink-3"];
  const width = isStrong ? 1.75 : 1.25;
  context.lineWidth = Math.max(width, (isStrong ? 1.25 : 0.6) / camera.scale);
  context.setLineDash(edge.call ? [3, 4] : []);
  context.beginPath();
  context.moveTo(x1, y1);
  let x = x1, y = y1;
  for (const [px, py] of [...points, [x2, y2]]) {
    const bend = Math.max((px - x) / 2, py === y ? 0 : 16);
    if (py === y) context.lineTo(px, py); else context.bezierCurveTo(x + bend, y, px - bend, py, px, py);
    x = px; y = py;
  }
  context.stroke();
  context.setLineDash([]);
  if (camera.scale > MARKED) {
    context.beginPath(); context.moveTo(x2, y2); context.lineTo(x2 - 7, y2 - 3.5); context.lineTo(x2 - 7, y2 + 3.5); context.fill();
  }
  if (edge.count > 1 && camera.scale > 0.6 && (isOver || source.group !== target.group)) {
    const text = `×${grouped(edge.count)}`, last = points.at(-1) || [x1, y1], mx = (last[0] + x2) / 2, my = (last[1] + y2) / 2;
    context.font = `12px ${colors.sans}`;
    context.textAlign = "center";
    context.lineWidth = 4; context.strokeStyle = colors["surface-2"]; context.lineJoin = "round";
    context.globalAlpha = 1;
    context.strokeText(text, mx, my - 5);
    context.fillStyle = colors["ink-3"];
    context.fillText(text, mx, my - 5);
    context.textAlign = "left";
  }
  context.globalAlpha = 1;
};

/** The height at which edges reach a vertex: of an open group its head. @param {Vertex} vertex */
const anchor = (vertex) => vertex.y + (vertex.part ? 22 : vertex.height / 2);

const drawVertex = (context, scene, vertex) => {
  const { colors, camera } = scene;
  const { x, y, width, height, state } = vertex;
  const isDim = scene.lit && !scene.lit.has(vertex.key), isOver = scene.over === vertex.key;
  const isBusy = BUSY.has(state) || Boolean(vertex.counts.leased || vertex.counts.started);
  context.globalAlpha = (isDim ? 0.32 : 1) * (vertex.fade ?? 1);
  const border = state === "failed" ? colors.states.failed : isBusy ? colors.states.leased : isOver ? colors["ink-3"] : colors["line-2"];
  if (camera.scale < MARKED) {
    context.fillStyle = colors.softs[state] || colors.surface;
    context.strokeStyle = colors.states[state] || colors["line-2"];
    context.lineWidth = 1 / camera.scale;
    box(context, x, y, width, height, 8);
    context.fill(); context.stroke();
    context.globalAlpha = 1;
    return;
  }
  if (vertex.group && !vertex.part) {
    context.fillStyle = colors.surface; context.strokeStyle = border; context.lineWidth = 1;
    for (const shift of [8, 4]) { box(context, x + shift, y + shift, width, height, 8); context.fill(); context.stroke(); }
  }
  context.fillStyle = state === "failed" && !vertex.group ? colors.softs.failed : colors.surface;
  context.strokeStyle = border;
  context.lineWidth = scene.showsPath && vertex.critical ? 2 : isOver || isBusy || state === "failed" ? 1.5 : 1;
  if (scene.showsPath && vertex.critical && state !== "failed" && !isBusy) context.strokeStyle = colors.ink;
  if (UNBEGUN.has(state) && !vertex.group) context.setLineDash([4, 3]);
  box(context, x, y, width, height, 8);
  context.fill(); context.stroke();
  context.setLineDash([]);
  if (camera.scale < READABLE && !vertex.part) {
    const size = Math.min(28, height - 12);
    drawMark(context, state, x + 10, y + (height - size) / 2, size, colors, scene.turn);
    // From afar one word, in letters that are as large as there is room for.
    const letters = Math.min(Math.max(13, 9.5 / camera.scale), height * 0.55);
    context.font = `500 ${letters}px ${colors.sans}`;
    context.fillStyle = colors["ink-2"];
    const word = vertex.group ? grouped(vertex.total) : vertex.label || vertex.name;
    if (letters * camera.scale > 6) context.fillText(cut(context, word, width - size - 26), x + size + 18, y + height / 2 + letters * 0.35);
    context.globalAlpha = 1;
    return;
  }
  drawHead(context, scene, vertex);
  if (vertex.part) drawCells(context, scene, vertex);
  context.globalAlpha = 1;
};

const drawHead = (context, scene, vertex) => {
  const { colors } = scene, { x, y, width, height, state } = vertex;
  const head = vertex.part ? 44 : vertex.group ? height - 12 : height;
  drawMark(context, state, x + 12, y + head / 2 - 8, 16, colors, scene.turn);
  const number = vertex.group ? grouped(vertex.total) : "";
  context.font = `600 13px ${colors.sans}`;
  const room = number ? context.measureText(number).width + 12 : 0;
  context.fillStyle = colors["ink-2"];
  if (number) { context.textAlign = "right"; context.fillText(number, x + width - 12, y + head / 2 - 3); context.textAlign = "left"; }
  context.fillStyle = colors.ink;
  context.fillText(cut(context, vertex.name, width - 48 - room), x + 36, y + head / 2 - 3);
  context.font = `12px ${colors.sans}`;
  context.fillStyle = colors["ink-3"];
  const under = vertex.group ? (vertex.maker ? `by ${vertex.maker.split(".").at(-1)}` : "from outside") : vertex.label ? `${vertex.label}` : wordOf(state);
  context.fillText(cut(context, under, width - 48), x + 36, y + head / 2 + 13);
  if (vertex.group) drawBar(context, vertex, colors, x + 12, vertex.part ? y + 41 : y + height - 14, width - 24);
};

const drawBar = (context, vertex, colors, x, y, width) => {
  context.save();
  box(context, x, y, width, 5, 2.5); context.clip();
  context.fillStyle = colors["surface-3"]; context.fillRect(x, y, width, 5);
  // None is too narrow to be seen; the widest gives what that takes.
  const parts = ORDER.filter((state) => vertex.counts[state]).map((state) => [state, Math.max(width * vertex.counts[state] / vertex.total, 3)]);
  const over = parts.reduce((sum, part) => sum + part[1], 0) - width, widest = parts.reduce((most, part) => (part[1] > most[1] ? part : most), ["", 0]);
  widest[1] -= over;
  let at = x;
  for (const [state, part] of parts) {
    context.fillStyle = state === "waiting" ? colors["line-2"] : colors.states[state];
    context.fillRect(at, y, part, 5);
    at += part;
  }
  context.restore();
};

const drawCells = (context, scene, vertex) => {
  const { colors, camera } = scene, { cells, cell: [width, height], columns, first, next } = vertex.part;
  const isChip = width > 40;
  context.font = `12px ${colors.sans}`;
  cells.forEach((cell, place) => {
    const x = vertex.x + 12 + (place % columns) * width, y = vertex.y + 52 + Math.floor(place / columns) * height - 4;
    const isOver = scene.over === vertex.key && scene.overCell === place;
    if (isOver || cell.state === "failed") { context.fillStyle = cell.state === "failed" ? colors.softs.failed : colors["surface-3"]; box(context, x, y, width - 4, height - 4, 4); context.fill(); }
    if (camera.scale < 0.3) { context.fillStyle = cell.state === "waiting" ? colors["line-2"] : colors.states[cell.state]; context.fillRect(x + 2, y + 2, isChip ? 16 : width - 8, height - 8); return; }
    drawMark(context, cell.state, x + 3, y + (height - 4) / 2 - 6, 12, colors, scene.turn);
    if (isChip && camera.scale > READABLE) { context.fillStyle = colors["ink-2"]; context.fillText(cut(context, cell.label || cell.id.slice(-8), width - 28), x + 20, y + (height - 4) / 2 + 4); }
  });
  context.fillStyle = colors["ink-3"];
  const last = first + cells.length;
  const word = next || first ? `${grouped(first + 1)} to ${grouped(last)} of ${grouped(vertex.total)}${next ? " · next ›" : ""}` : "fold";
  if (camera.scale > READABLE) context.fillText(word, vertex.x + 12, vertex.y + vertex.height - 11);
};

/** The cell of an open group under a point; -1 for its head, -2 for its foot. @param {Vertex} vertex */
export const cellAt = (vertex, x, y) => {
  const { cells, cell: [width, height], columns } = vertex.part;
  if (y < vertex.y + 48) return -1;
  const column = Math.floor((x - vertex.x - 12) / width), row = Math.floor((y - vertex.y - 48) / height), place = row * columns + column;
  return column >= 0 && column < columns && place >= 0 && place < cells.length ? place : y > vertex.y + vertex.height - 30 ? -2 : -1;
};

const box = (context, x, y, width, height, radius) => { context.beginPath(); context.roundRect(x, y, width, height, radius); };

/** @type {Map<string, string>} */
const cuts = new Map();
const cut = (context, text, width) => {
  const key = `${context.font}${Math.round(width)}${text}`, known = cuts.get(key);
  if (known !== undefined) return known;
  let shown = text;
  if (context.measureText(text).width > width) { let from = 0, to = text.length; while (from < to) { const middle = (from + to + 1) >> 1; if (context.measureText(`${text.slice(0, middle)}…`).width <= width) from = middle; else to = middle - 1; } shown = `${text.slice(0, from)}…`; }
  if (cuts.size > 4000) cuts.clear();
  cuts.set(key, shown);
  return shown;
};
