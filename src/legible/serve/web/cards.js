// A reading as a card: its words with each claim underlined by its trust; behind them what is doubtful, and the numbers.

import { el, number, probability, visible } from "./dom.js";
import { claimTable, flagged, scores } from "./claims.js";
import { doubtful, doubtfulClaims, littleToSay, notUnderstood, pieces } from "./doubt.js";
import { areGrouped, byFamily, ONLY_DOUBTFUL, SILENT } from "./families.js";
import { filtering, highlighted } from "./search.js";
import { state } from "./state.js";

const GAP = "…";
const BEFORE = 6; // tokens shown before the one that is read

/** The card of one reading. `run` gives the words before it; `actions` are buttons in its head. */
export function card(reading, { run = null, actions = [], id = `r${reading.pos}`, sift = true } = {}) {
  const filter = sift ? state.filter : { words: "", kind: "", verdict: "", trust: 0 };
  const shown = reading.claims.filter((claim) => !filter.trust || passesTrust(claim, filter));
  return el("article", { class: "card", id, "data-pos": reading.pos },
    head(run, reading.pos, reading.token, [reading.flags.map(flagged), actions]),
    words(reading, shown, filter, run),
    remark(littleToSay(reading), "little"),
    remark(reading.p_true_reason && `No probabilities here: ${reading.p_true_reason}.`, "why"),
    withheld(reading, shown, filter),
    doubts(reading, shown, filter),
    detail(reading, shown, filter),
    samples(reading));
}

/** Where the reading was taken: the token, after the words before it. */
function head(run, pos, token, beside = []) {
  const before = (run?.tokens ?? []).slice(Math.max(0, pos - BEFORE), pos).filter((one) => !one.special && !one.template).map((one) => one.token).join("");
  return el("header", {},
    el("h3", {}, before && el("span", { class: "before" }, `${GAP}${before.replace(/\s+/g, " ").trimStart()}${/^\s/.test(token) ? " " : ""}`), el("span", { class: "token" }, visible(token.trim() || token)), " ", el("span", { class: "pos" }, `token ${pos}`)),
    beside);
}

function passesTrust(claim, filter) {
  return typeof claim.p_true === "number" && claim.p_true >= filter.trust;
}

/** A text with each claim underlined by its trust; doubtful ones struck through, or `folded`: a gap in their place. */
function marked(text, claims, folded = true) {
  const nodes = [];
  for (const { text: said, verdict, pTrue } of pieces(text, claims)) {
    if (doubtful(pTrue) && folded) {
      if (nodes.at(-1)?.className === "gap") continue;
      if (/^[ ,;:.]*$/.test(nodes.at(-1) ?? "") && nodes.at(-2)?.className === "gap") nodes.pop();
      else nodes.push(el("span", { class: "gap", title: "doubtful, see below" }, GAP));
    } else if (pTrue === null && !verdict) nodes.push(...highlighted(said));
    else {
      const title = [pTrue !== null && `p_true ${probability(pTrue)}`, doubtful(pTrue) && "doubtful", verdict].filter(Boolean).join(", ");
      const look = ["claim", pTrue !== null && `p${Math.round(10 * pTrue)}`, doubtful(pTrue) && "doubtful"].filter(Boolean).join(" ");
      nodes.push(el(doubtful(pTrue) ? "s" : "span", { class: look, title }, highlighted(said)));
    }
  }
  return nodes;
}

/** The explanation; under a trust threshold only what reaches it. */
function words(reading, shown, filter, run) {
  if (reading.explanation === null) return el("p", { class: "failed" }, "No explanation came out.");
  if (shown.length && areGrouped(run ? [reading, ...run.readings.values()] : [reading])) return families(shown);
  if (filter.trust && !shown.length) return el("p", { class: "failed" }, `It abstains: no claim has p_true ≥ ${number(filter.trust)}.`);
  const [text, claims] = filter.trust ? [shown.map((claim) => claim.text).join(". "), shown] : [reading.explanation, reading.claims];
  if (claims.length && claims.every((claim) => doubtful(claim.p_true))) return el("p", { class: "words" }, el("span", { class: "soft" }, ONLY_DOUBTFUL));
  return el("p", { class: "words" }, marked(text, claims));
}

/** The claims a line a family; one of which nothing is said, or nothing but doubtful things, says so. */
function families(shown) {
  return el("dl", { class: "words families" }, byFamily(shown).map(({ label, claims, text }) => [
    el("dt", {}, label),
    el("dd", {}, !claims.length ? el("span", { class: "soft" }, SILENT)
      : claims.every((claim) => doubtful(claim.p_true)) ? el("span", { class: "soft" }, ONLY_DOUBTFUL) : marked(text, claims)),
  ]));
}

function remark(text, look) {
  return text ? el("p", { class: `soft small ${look}` }, text[0].toUpperCase() + text.slice(1)) : null;
}

function withheld(reading, shown, filter) {
  const n = reading.claims.length - shown.length;
  return n && filter.trust ? el("p", { class: "soft small" }, `${n} claim${n > 1 ? "s" : ""} withheld by the trust threshold`) : null;
}

/** What was folded away: the whole explanation, its doubtful claims struck through, and what no relation was read from. */
function doubts(reading, shown, filter) {
  const count = doubtfulClaims(shown.filter((claim) => doubtful(claim.p_true)).length);
  const lost = notUnderstood(reading.unparsed);
  if (!count && !lost) return null;
  return el("details", { class: "doubts" },
    el("summary", {}, [count, lost && "words that were not understood"].filter(Boolean).join(", ")),
    count && el("p", { class: "words" }, filter.trust ? marked(shown.map((claim) => claim.text).join(". "), shown, false) : marked(reading.explanation, reading.claims, false)),
    lost && el("p", { class: "soft small unparsed" }, lost));
}

/** The numbers; open where claims are searched. */
function detail(reading, shown, filter) {
  const n = shown.length;
  return el("details", { class: "detail", open: Boolean(filter.words || filter.kind || filter.verdict) },
    el("summary", {}, n ? `${n} claim${n === 1 ? "" : "s"} and the scores` : "the scores"),
    scores(reading),
    n ? claimTable(shown, filter, reading.samples !== undefined) : null);
}

function samples(reading) {
  if (!reading.samples?.length) return null;
  const distinct = new Set(reading.samples.map((sample) => sample.explanation)).size;
  return el("details", { class: "samples" },
    el("summary", {}, `${reading.samples.length} samples, ${distinct} different`),
    el("ol", {}, reading.samples.map((sample) =>
      el("li", {}, sample.explanation === null ? el("span", { class: "failed" }, "no explanation came out") : highlighted(sample.explanation),
        el("span", { class: "soft small" }, ` direction_mse ${number(sample.direction_mse)}`)))));
}

/** The card of a token whose words are written but not measured yet. */
export function draftCard(run, pos, token, explanation) {
  return el("article", { class: "card draft", "data-pos": pos },
    head(run, pos, token, [el("span", { class: "soft" }, "measuring its claims…")]),
    el("p", { class: "words" }, explanation ?? "no explanation came out"));
}

/** The card of a token that was selected but not read. */
export function unreadCard(run, pos, token, read) {
  return el("article", { class: "card unread", "data-pos": pos },
    head(run, pos, token, [el("button", { type: "button", class: "quiet", on: { click: read } }, "Read it")]),
    el("p", { class: "soft" }, "Not read yet."));
}

/** What decides how a card looks, so that an unchanged one is kept. */
export function lookNow() {
  return filtering() ? JSON.stringify(state.filter) : "";
}
