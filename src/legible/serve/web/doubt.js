// Doubt as `legible.reading.doubt` and `legible.reading.marks` decide it, for the page; a test compares the two.

import { visible } from "./dom.js";

export const DOUBTFUL = 0.5; // p_true below which a claim is doubtful
const NO_BETTER = "no better than saying nothing";
const LITTLE = { early_position: "too early in the text", ood: "outside what the pair was trained on" };
const GAP = "…";
const BETWEEN = /^[ ,;:]*/;

/** Whether a claim of this probability is shown as doubtful; one without a probability is not. */
export function doubtful(pTrue) {
  return typeof pTrue === "number" && pTrue < DOUBTFUL;
}

/** The words that stand for claims that are withheld; empty where there are none. */
export function doubtfulClaims(n) {
  return n ? `${n} doubtful claim${n === 1 ? "" : "s"}` : "";
}

const hundredths = (score) => Math.floor(100 * score + 0.5);

/** Whether a token's score is at most its floor, in the two digits that are shown. */
export function noBetter(fve, floor) {
  return typeof fve === "number" && typeof floor === "number" && hundredths(fve) <= hundredths(floor);
}

/** The share of what the floor leaves unexplained that the words explain; null without a score. */
export function aboveFloor(fve, floor) {
  if (typeof fve !== "number" || Number.isNaN(fve)) return null;
  const start = Math.max(0, floor ?? 0);
  return start < 1 && !noBetter(fve, floor) ? Math.max(0, (fve - start) / (1 - start)) : 0;
}

/** Why the pair has little to say at a token, in words; empty where it has. */
export function littleToSay(reading) {
  const reasons = [...reading.flags.map((flag) => LITTLE[flag]), noBetter(reading.fve_token, reading.floor_fve) && NO_BETTER].filter(Boolean);
  return reasons.length ? `little to say here: ${reasons.join(", ")}` : "";
}

/** The words for clauses that no relation was read from; empty where there are none. */
export function notUnderstood(clauses) {
  return clauses?.length ? `not understood, so neither true nor false: ${clauses.map((clause) => visible(clause)).join(", ")}` : "";
}

/** How many claims are doubtful, what was not understood, and why the pair has little to say; empty where there is nothing to note. */
export function notes(reading) {
  const count = reading.claims.filter((claim) => doubtful(claim.p_true)).length;
  return [doubtfulClaims(count), notUnderstood(reading.unparsed), littleToSay(reading)].filter(Boolean).join("; ");
}

/** A text as [{ text, verdict, pTrue }, …]: claims at their values, doubtful ones at all their words, and what stands between. */
export function pieces(text, claims) {
  let marks = [];
  const standing = new Set(claims.filter((claim) => !doubtful(claim.p_true)).map((claim) => claim.text));
  for (const claim of claims) {
    if (!claim.verdict && typeof claim.p_true !== "number") continue;
    const at = claim.text ? text.indexOf(claim.text) : -1;
    const clause = at >= 0 ? [at, at + claim.text.length] : [0, 0];
    const places = claim.value === null || claim.value === undefined ? [] : placesOf(text, claim.value, clause);
    const [start, end] = places.find((place) => free(place, marks)) ?? clause;
    if (doubtful(claim.p_true)) marks = marks.filter((mark) => free([start, end], [mark])); // its words are another's as well: they are doubtful
    if (start < end && free([start, end], marks)) marks.push({ start, end, clause, verdict: claim.verdict ?? "", pTrue: claim.p_true ?? null, quoted: standing.has(claim.text) && inQuotes(text, clause, [start, end]) });
  }
  marks.sort((a, b) => a.start - b.start);
  const found = [];
  let at = 0;
  marks.forEach((mark, index) => {
    const [start, end] = doubtful(mark.pTrue) ? share(text, marks, index, at) : [mark.start, mark.end];
    if (start > at) found.push({ text: text.slice(at, start), verdict: "", pTrue: null });
    found.push({ text: text.slice(start, end), verdict: mark.verdict, pTrue: mark.pTrue });
    at = end;
  });
  return at < text.length ? [...found, { text: text.slice(at), verdict: "", pTrue: null }] : found;
}

function free([start, end], marks) {
  return marks.every((mark) => end <= mark.start || start >= mark.end);
}

/** Where a value stands as a whole word from the clause on, first inside the clause's quotation marks. */
function placesOf(text, value, clause) {
  const word = new RegExp(`(?<![\\p{L}\\p{N}_])${value.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&")}(?![\\p{L}\\p{N}_])`, "gu");
  word.lastIndex = clause[0];
  const found = [...text.matchAll(word)].map((match) => [match.index, match.index + value.length]);
  return [...found.filter((place) => inQuotes(text, clause, place)), ...found.filter((place) => !inQuotes(text, clause, place))];
}

function inQuotes(text, [first, last], [start, end]) {
  return [...text.slice(first, last).matchAll(/"[^"]*"/g)].some((match) => first + match.index < start && end < first + match.index + match[0].length);
}

/** A claim's share of its clause from `at` on; its value alone where that stands elsewhere. */
function share(text, marks, index, at) {
  const { start, end, clause: [first, last], quoted } = marks[index];
  if (quoted) return text[start - 1] === '"' && text[end] === '"' ? [start - 1, end + 1] : [start, end];
  if (!(first <= start && start < end && end <= last)) return [start, end];
  const from = Math.max(first, at);
  const later = index + 1 < marks.length && marks[index + 1].start < last;
  return [from + BETWEEN.exec(text.slice(from, start))[0].length, later ? end : last];
}

/** The words where doubt cannot be drawn: one gap for doubtful claims that follow each other; empty where nothing else was said. */
export function plain(text, claims) {
  const kept = [];
  for (const piece of pieces(text, claims)) {
    const gone = doubtful(piece.pTrue);
    if (gone && kept.at(-2) === GAP && !kept.at(-1).replace(BETWEEN, "")) kept.pop();
    else if (!(gone && kept.at(-1) === GAP)) kept.push(gone ? GAP : piece.text);
  }
  const whole = kept.join("");
  return /[\p{L}\p{N}]/u.test(whole) ? whole : "";
}
