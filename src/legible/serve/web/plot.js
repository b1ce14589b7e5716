// Small line charts as inline SVG. Takes numbers, draws them, computes nothing else.

import { el, number, svg } from "./dom.js";

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [340, 220, 46, 12, 12, 36];

/**
 * A figure with its legend.
 *
 * title: what it shows. x, y: { label, range: [low, high] }; absent ranges span the points. series: [{ name, points:
 * [[x, y], …], dots, sizes, low, high }], `low` and `high` being intervals of y, `sizes` what the dots' areas stand for. marks: [{ x, label }] vertical lines.
 * levels: [{ y, label }] horizontal lines. diagonal: draw y = x.
 */
export function chart({ title, x, y, series, marks = [], levels = [], diagonal = false, digits = 2 }) {
  const drawn = series.filter((one) => one.points.length);
  const all = drawn.flatMap((one) => one.points);
  const xs = x.range ?? padded([...all.map(([a]) => a), ...marks.map((mark) => mark.x)], 0);
  const ys = y.range ?? within(padded([...all.map(([, b]) => b), ...levels.map((level) => level.y)], 0.06), all);
  const across = (value) => place(value, xs, LEFT, WIDTH - RIGHT);
  const up = (value) => place(value, ys, HEIGHT - BOTTOM, TOP);
  const text = (content, at) => svg("text", at, content);
  const picture = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": described(title, x, y, drawn, marks) },
    svg("path", { class: "axis", d: `M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}` }),
    text(number(ys[1], digits), { x: LEFT - 5, y: TOP + 8, "text-anchor": "end" }),
    text(number(ys[0], digits), { x: LEFT - 5, y: HEIGHT - BOTTOM, "text-anchor": "end" }),
    text(short(xs[0]), { x: LEFT, y: HEIGHT - BOTTOM + 14 }),
    text(short(xs[1]), { x: WIDTH - RIGHT, y: HEIGHT - BOTTOM + 14, "text-anchor": "end" }),
    text(x.label, { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle" }),
    text(y.label, { transform: `rotate(-90 12 ${(TOP + HEIGHT - BOTTOM) / 2})`, x: 12, y: (TOP + HEIGHT - BOTTOM) / 2, "text-anchor": "middle" }),
    diagonal && svg("path", { class: "level", d: `M${across(xs[0])} ${up(xs[0])}L${across(xs[1])} ${up(xs[1])}` }),
    levels.map((level) => [
      svg("path", { class: "level", d: `M${LEFT} ${up(level.y)}H${WIDTH - RIGHT}` }),
      text(level.label, { x: WIDTH - RIGHT - 2, y: up(level.y) - 4, "text-anchor": "end" })]),
    marks.map((mark) => [
      svg("path", { class: "at", d: `M${across(mark.x)} ${TOP}V${HEIGHT - BOTTOM}` }),
      text(mark.label, { x: across(mark.x) + (mark.x > (xs[0] + xs[1]) / 2 ? -4 : 4), y: HEIGHT - BOTTOM - 5, "text-anchor": mark.x > (xs[0] + xs[1]) / 2 ? "end" : "start" })]),
    drawn.map((one, index) => line(one, index, across, up)));
  return el("figure", {}, picture, el("figcaption", {}, title, drawn.length > 1 && legend(drawn)));
}

function line(one, index, across, up) {
  const points = one.points.map(([a, b]) => `${across(a)},${up(b)}`).join(" ");
  return svg("g", { class: `s${index % 3}` },
    (one.low ?? []).map((low, i) => svg("path", { class: "bar", d: `M${across(one.points[i][0])} ${up(low)}V${up(one.high[i])}` })),
    svg("polyline", { points }),
    one.dots === false ? null : one.points.map(([a, b], i) => svg("circle", { cx: across(a), cy: up(b), r: radius(one.sizes, i) })));
}

function legend(drawn) {
  return el("span", { class: "keys" }, drawn.map((one, index) =>
    el("span", {}, svg("svg", { class: `chart key s${index % 3}`, viewBox: "0 0 24 8", "aria-hidden": "true" },
      svg("polyline", { points: "0,4 24,4" }), svg("circle", { cx: 12, cy: 4, r: 3 })), one.name)));
}

/** A dot's radius: its area goes with its size, the largest at 6. */
function radius(sizes, index) {
  return sizes ? Math.max(1.5, Math.round(60 * Math.sqrt(sizes[index] / Math.max(...sizes))) / 10) : 3;
}

/** Shares end at 1: no axis goes beyond what its values can be. */
function within([low, high], points) {
  return [low, points.every(([, b]) => b <= 1) && high > 1 ? 1 : high];
}

function place(value, [low, high], from, to) {
  const share = high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0.5;
  return Math.round((from + share * (to - from)) * 10) / 10;
}

function padded(values, share) {
  if (!values.length) return [0, 1];
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = (high - low) * share || (high === low ? 0.5 : 0);
  return [low - room, high + room];
}

function short(value) {
  return Number.isInteger(value) ? String(value) : number(value, 2);
}

/** The numbers in words, for those who do not see the picture. */
function described(title, x, y, drawn, marks) {
  const lines = drawn.map((one) => `${one.name}: ${one.points.slice(0, 30).map(([a, b]) => `${short(a)} ${number(b)}`).join(", ")}`);
  return `${title} ${y.label} against ${x.label}. ${[...lines, ...marks.map((mark) => `${mark.label} at ${short(mark.x)}`)].join(". ")}.`;
}
