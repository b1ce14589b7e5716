// Comparing two texts word by word.

import { el } from "./dom.js";

const MOST = 400; // words compared; what comes later counts as one change

/** [[kind, text], …] with kind "same", "gone" (only in `before`) or "new" (only in `after`). */
export function changes(before, after) {
  const [a, b] = [split(before), split(after)];
  const common = lengths(a, b);
  const found = [];
  const add = (kind, text) => (found.at(-1)?.[0] === kind ? (found.at(-1)[1] += text) : found.push([kind, text]));
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) { add("same", b[j]); i += 1; j += 1; }
    else if (j >= b.length || (i < a.length && common[i + 1][j] >= common[i][j + 1])) add("gone", a[i++]);
    else add("new", b[j++]);
  }
  return found;
}

function split(text) {
  const words = text.match(/\s*\S+\s*$|\s*\S+|\s+/gu) ?? [];
  return words.length > MOST ? [...words.slice(0, MOST), words.slice(MOST).join("")] : words;
}

/** common[i][j]: most words that a from i and b from j share, in order. */
function lengths(a, b) {
  const common = Array.from({ length: a.length + 1 }, () => new Array(b.length + 1).fill(0));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      common[i][j] = a[i] === b[j] ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  return common;
}

/** The changes as nodes; `gone: false` leaves out what only `before` has. */
export function marked(before, after, { gone = true } = {}) {
  return changes(before, after).filter(([kind]) => gone || kind !== "gone").map(([kind, text]) =>
    kind === "same" ? text : [/^\s*/.exec(text)[0], el(kind === "new" ? "ins" : "del", {}, text.trimStart())]).flat();
}

/** How two lists of tokens correspond: [[i, j], …], null where a token has no partner. */
export function aligned(one, other) {
  let start = 0;
  while (start < one.length && start < other.length && one[start] === other[start]) start += 1;
  let end = 0;
  while (end < one.length - start && end < other.length - start && one.at(-1 - end) === other.at(-1 - end)) end += 1;
  const pairs = Array.from({ length: start }, (_, i) => [i, i]);
  const [a, b] = [one.slice(start, one.length - end), other.slice(start, other.length - end)];
  if (a.length * b.length > 4e6) a.forEach((_, i) => pairs.push([start + i, i < b.length ? start + i : null]));
  else pairs.push(...middle(a, b, start));
  for (let i = end; i > 0; i -= 1) pairs.push([one.length - i, other.length - i]);
  return pairs;
}

function middle(a, b, start) {
  const common = lengths(a, b);
  const pairs = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) pairs.push([start + i++, start + j++]);
    else if (i < a.length && j < b.length && common[i + 1][j + 1] >= Math.max(common[i + 1][j], common[i][j + 1])) pairs.push([start + i++, start + j++]);
    else if (j >= b.length || (i < a.length && common[i + 1][j] >= common[i][j + 1])) pairs.push([start + i++, null]);
    else pairs.push([null, start + j++]);
  }
  return pairs;
}
