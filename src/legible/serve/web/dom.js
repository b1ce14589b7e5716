// Building elements safely: every string goes in as text, with acting characters spelled out.

const ACTING = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;
const SHORT = { "\t": "\\t", "\n": "\\n", "\r": "\\r" };
const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set(["value", "checked", "hidden", "disabled", "selected", "indeterminate"]);

/** The text with every control, ANSI, bidirectional or invisible character spelled out, as `display.visible` does. */
export function visible(text, keep = "") {
  return String(text).replace(ACTING, (char) => (keep.includes(char) ? char : spelled(char)));
}

function spelled(char) {
  if (SHORT[char]) return SHORT[char];
  const code = char.codePointAt(0);
  if (code < 0x100) return "\\x" + code.toString(16).padStart(2, "0");
  return code < 0x10000 ? "\\u" + code.toString(16).padStart(4, "0") : "\\U" + code.toString(16).padStart(8, "0");
}

/** An element. Attributes: `class`, `on` (listeners), properties of forms, the rest as attributes; null is left out. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (PROPERTIES.has(name) && name in node) node[name] = value;
    else node.setAttribute(name, value === true ? "" : typeof value === "string" ? visible(value) : value);
  }
  append(node, children);
  return node;
}

function append(node, children) {
  for (const child of children.flat(4)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(visible(child, "\n")));
  }
}

/** Makes `parent` hold exactly `nodes`, moving as few as possible, so that focus and open details stay. */
export function arrange(parent, nodes) {
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
  while (parent.children.length > nodes.length) parent.lastElementChild.remove();
}

export const byId = (id) => document.getElementById(id);

/** A number as it is shown; a dash where there is none. */
export function number(value, digits = 2) {
  return typeof value === "number" && Number.isFinite(value) ? value.toFixed(digits).replace(/^-(0\.?0*)$/, "$1") : "–";
}

/** A probability, rounded down: nothing is shown as certain. */
export function probability(value) {
  return typeof value === "number" ? number(Math.floor(value * 100) / 100) : "–";
}

/** `0.71 [0.69, 0.73]` of an object with value, low and high, or just the number. */
export function interval(value, digits = 2) {
  if (value === null || typeof value !== "object") return number(value, digits);
  if (typeof value.low !== "number") return number(value.value, digits);
  return `${number(value.value, digits)} [${number(value.low, digits)}, ${number(value.high, digits)}]`;
}

/** CSS class of a share: `t0` (0 or less) to `t10` (1), `tx` where there is none. */
export function tint(share) {
  return typeof share === "number" && Number.isFinite(share) ? `t${Math.round(Math.min(1, Math.max(0, share)) * 10)}` : "tx";
}

/** A bar from `start` on to the value, both in [0, 1], for the eye only: the numbers stand beside it. */
export function bar(value, kind = "fve", start = 0) {
  const [first, last] = [start, value].map((share) => Math.round(48 * Math.min(1, Math.max(0, share ?? 0))));
  return svg("svg", { class: `meter ${kind}`, viewBox: "0 0 48 6", "aria-hidden": "true" },
    svg("rect", { class: "track", width: 48, height: 6, rx: 2 }),
    last > first && svg("rect", { class: "fill", x: first, width: last - first, height: 6, rx: 2 }),
    first > 0 && svg("rect", { class: "floor", x: Math.min(first, 46.5), width: 1.5, height: 6 }));
}

/** A table: heads are strings or [text, class], rows are lists of nodes, strings or [content, class]. */
export function table(caption, heads, rows) {
  const cell = (tag, content, extra = {}) =>
    Array.isArray(content) ? el(tag, { class: content[1], ...extra }, content[0]) : el(tag, extra, content);
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {},
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, heads.map((head) => cell("th", head, { scope: "col" })))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((content, index) =>
        index === 0 ? cell("th", content, { scope: "row" }) : cell("td", content)))))));
}

/** A labelled control: the label's text, then the control. */
export function field(text, control, hint = "") {
  return el("label", {}, text, " ", control, hint && el("span", { class: "soft" }, ` ${hint}`));
}
