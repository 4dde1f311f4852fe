// Draws a timeline: an axis, a row for each worker with its lanes, gaps in which nothing ran, and bars.

import { grouped } from "./marks.js";

export const AXIS = 30, LANE = 18;
const PAD = 8;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];

/** A duration for people, as `lasting` of dagorama.analysis.wording has it. @param {number} seconds */
export const lasting = (seconds) => {
  if (seconds < 99.95) return seconds < 0.9995 ? `${+(seconds * 1000).toPrecision(3)} ms` : `${+seconds.toPrecision(3)} s`;
  const whole = Math.round(seconds), minutes = Math.floor(whole / 60), hours = Math.floor(minutes / 60);
  return hours ? `${grouped(hours)} h ${minutes % 60} min` : `${minutes} min ${whole % 60} s`;
};

/** The tops of rows, by their numbers, and how high all are. */
export const rowTops = (rows) => {
  let top = 0;
  const tops = rows.map((row) => { const here = top; top += row.lanes * LANE + 2 * PAD; return here; });
  return { tops, height: top };
};

/** How wide the names of workers are, on a stage of some width. */
export const namesOf = (width) => (width < 520 ? 84 : 132);

/** Where a lane stands. */
export const laneTop = (view, lane) => {
  let number = view.rows.length - 1;
  while (number > 0 && view.rows[number].first_lane > lane) number -= 1;
  return AXIS + view.tops[number] + PAD + (lane - view.rows[number].first_lane) * LANE - view.scroll;
};

/**
 * @param {CanvasRenderingContext2D} context
 * @param {any} view the bars, the part of the axis that is shown (`left`, `right`), `scroll`, sizes and colours
 */
export const draw = (context, view) => {
  const { width, height, colors, ratio, names } = view, inner = Math.max(width - names, 1), scale = inner / (view.right - view.left);
  const at = (place) => names + (place - view.left) * scale;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  if (!view.rows.length) return;
  context.save();
  context.beginPath(); context.rect(0, AXIS, width, height - AXIS); context.clip();
  view.rows.forEach((row, number) => {
    const top = AXIS + view.tops[number] - view.scroll, tall = row.lanes * LANE + 2 * PAD;
    if (number % 2 === 0) { context.fillStyle = colors.surface; context.fillRect(0, top, width, tall); }
    context.fillStyle = colors.line; context.fillRect(0, top + tall - 0.5, width, 1);
  });
  context.restore();
  drawAxis(context, view, at, scale);
  context.save();
  context.beginPath(); context.rect(names, AXIS, inner, height - AXIS); context.clip();
  drawGaps(context, view, at);
  drawBars(context, view, at);
  context.restore();
  drawNames(context, view);
};

const drawBars = (context, view, at) => {
  const { colors, height, names } = view, tops = new Map();
  const top = (lane) => { let known = tops.get(lane); if (known === undefined) { known = laneTop(view, lane); tops.set(lane, known); } return known; };
  const isSeen = (bar) => { const y = top(bar[0]); return y > AXIS - LANE && y < height && at(bar[4]) >= names && bar[1] <= view.right; };
  const seen = view.bars.filter(isSeen);
  context.fillStyle = colors["line-2"];
  for (const [lane, ready, granted, started, , , count] of seen) if (count === 1 && granted > ready) context.fillRect(at(ready), top(lane) + LANE / 2 - 1.5, Math.max(at(granted) - at(ready), 0.5), 3);
  context.fillStyle = colors.states.ready;
  for (const [lane, , granted, started, , , count] of seen) if (count === 1 && started > granted) context.fillRect(at(granted), top(lane) + LANE / 2 - 2.5, Math.max(at(started) - at(granted), 0.5), 5);
  for (const bar of seen) {
    const [lane, , , started, ended, node, count, isPath, isEarlier] = bar, x = at(started), wide = Math.max(at(ended) - x, 1), y = top(lane) + 2;
    const state = count === 1 ? view.nodes[node]?.[4] : "";
    context.fillStyle = state === "failed" || isEarlier ? colors.states.failed : colors.states.leased;
    context.globalAlpha = view.over && view.over !== bar ? (isEarlier ? 0.3 : 0.55) : isEarlier ? 0.45 : count > 1 ? 0.6 : 1;
    if (wide > 4) { context.beginPath(); context.roundRect(x, y, wide - 0.5, LANE - 4, 2.5); context.fill(); } else context.fillRect(x, y, wide, LANE - 4);
    context.globalAlpha = 1;
    if (view.showsPath && isPath && count === 1 && !isEarlier) { context.strokeStyle = colors.ink; context.lineWidth = 2; context.beginPath(); context.roundRect(x + 0.5, y - 1, Math.max(wide - 1.5, 2), LANE - 2, 3); context.stroke(); }
    if (wide > 44 && count === 1 && view.nodes[node]) {
      const [, , name, label] = view.nodes[node];
      const left = Math.max(x, names);
      context.font = `12px ${colors.sans}`;
      context.fillStyle = colors.surface;
      context.fillText(cut(context, label || name, Math.min(x + wide, view.width) - left - 12), left + 6, y + 11);
    }
  }
};

/** A text that fits into so many pixels, empty where not enough of it would to be of use. */
const cut = (context, text, wide) => {
  if (context.measureText(text).width <= wide) return text;
  const letter = context.measureText("e").width;
  let length = Math.floor(wide / letter);
  while (length >= 8 && context.measureText(`${text.slice(0, length)}…`).width > wide) length -= 1;
  return length >= 8 ? `${text.slice(0, length).trimEnd()}…` : "";
};

/** The end of a text, as much of it as fits: workers of one name differ there. */
const cutBefore = (context, text, wide) => {
  if (context.measureText(text).width <= wide) return text;
  let from = 1;
  while (from < text.length && context.measureText(`…${text.slice(from)}`).width > wide) from += 1;
  return `…${text.slice(from)}`;
};

const drawGaps = (context, view, at) => {
  const { colors, height, names } = view;
  for (const [left, right, seconds] of view.gaps) {
    const x = at(left), wide = at(right) - x;
    if (x > view.width || x + wide < names) continue;
    context.fillStyle = colors["surface-3"];
    context.fillRect(x, AXIS, wide, height);
    context.strokeStyle = colors["ink-3"]; context.lineWidth = 1; context.setLineDash([2, 3]);
    context.beginPath(); context.moveTo(x, AXIS); context.lineTo(x, height); context.moveTo(x + wide, AXIS); context.lineTo(x + wide, height); context.stroke();
    context.setLineDash([]);
    if (wide < 16) continue;
    context.save();
    context.translate(x + wide / 2 + 4, height - 12); context.rotate(-Math.PI / 2);
    context.fillStyle = colors["ink-2"]; context.font = `12px ${colors.sans}`;
    context.fillText(`${lasting(seconds)} in which nothing ran`, 0, 0);
    context.restore();
  }
};

/** The real time at a place on the axis, in seconds from the begin. */
export const timeAt = (view, place) => {
  let piece = view.pieces[0];
  for (const each of view.pieces) if (each[0] <= place) piece = each; else break;
  return piece[1] + (place - piece[0]) / piece[2] - view.began;
};

const drawAxis = (context, view, at, scale) => {
  const { colors, width } = view;
  context.fillStyle = colors["surface-2"]; context.fillRect(0, 0, width, AXIS);
  context.fillStyle = colors["line-2"]; context.fillRect(0, AXIS - 1, width, 1);
  context.font = `12px ${colors.sans}`;
  const least = 84 / scale;
  const power = 10 ** Math.floor(Math.log10(least)), step = least < 1 ? [1, 2, 5, 10].map((each) => each * power).find((each) => each >= least) : STEPS.find((each) => each >= least) || Math.ceil(least / 86400) * 86400;
  for (const [begin, time, speed] of view.pieces) {
    if (speed < 0.999) continue;
    const until = view.pieces.find((piece) => piece[0] > begin)?.[0] ?? view.length;
    const from = time - view.began;
    for (let mark = Math.ceil(from / step - 1e-9) * step; ; mark += step) {
      const place = begin + mark - from;
      if (place > Math.min(until, view.right)) break;
      if (place < view.left) { if (view.left - place > 2000 * step) mark += Math.floor((view.left - place) / step - 1) * step; continue; }
      const x = at(place);
      context.fillStyle = colors.line; context.fillRect(x, AXIS, 1, view.height);
      context.fillStyle = colors["line-2"]; context.fillRect(x, AXIS - 6, 1, 5);
      const told = mark ? lasting(mark) : "0";
      if (x + 4 + context.measureText(told).width > width) continue;
      context.fillStyle = colors["ink-3"]; context.fillText(told, x + 4, AXIS - 11);
    }
  }
};

const drawNames = (context, view) => {
  const { colors, height, names } = view;
  context.fillStyle = colors["surface-2"]; context.fillRect(0, 0, names, height);
  context.fillStyle = colors["line-2"]; context.fillRect(names - 1, 0, 1, height); context.fillRect(0, AXIS - 1, names, 1);
  context.font = `12px ${colors.sans}`;
  context.fillStyle = colors["ink-3"]; context.fillText("worker", 12, AXIS - 11);
  context.save();
  context.beginPath(); context.rect(0, AXIS, names - 6, height - AXIS); context.clip();
  view.rows.forEach((row, number) => {
    const top = AXIS + view.tops[number] - view.scroll;
    context.font = `500 12px ${colors.sans}`; context.fillStyle = colors.ink; context.fillText(cutBefore(context, row.worker, names - 24), 12, top + 22);
    context.font = `12px ${colors.sans}`; context.fillStyle = colors["ink-3"];
    if (row.lanes > 1) context.fillText(`${grouped(row.nodes)} ${row.nodes === 1 ? "run" : "runs"}`, 12, top + 38);
  });
  context.restore();
};
