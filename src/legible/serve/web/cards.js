// A reading as a card: its words with each claim in them, score and flags, and behind them what speaks for each claim.

import { bar, el, number, probability, visible } from "./dom.js";
import { doubtful, doubtfulClaims, littleToSay, notUnderstood, pieces } from "./doubt.js";
import { claimPasses, filtering, highlighted } from "./search.js";
import { state, trustOf, trustShown } from "./state.js";

const FLAGS = {
  special_token: "a special token: nobody wrote it",
  template_token: "written by the chat template",
  early_position: "too early in the text: the pair was not trained there",
  norm_outlier: "the activation's norm is far from the others'",
  other_target: "read from another model than the pair was trained on",
  ood: "outside the world: the words may be noise, and there is no p_true",
  parse_failed: "the verbalizer's output had no explanation",
};

/** The card of one reading. `level` is the tag of its heading; `actions` are buttons in its head. */
export function card(reading, { actions = [], level = "h3", id = `r${reading.pos}`, sift = true } = {}) {
  const filter = sift ? state.filter : { words: "", kind: "", verdict: "", trust: 0 };
  const shown = reading.claims.filter((claim) => !filter.trust || passesTrust(claim, filter));
  return el("article", { class: "card", id, "data-pos": reading.pos },
    el("header", {},
      el(level, {}, el("span", { class: "pos" }, reading.pos), " ", el("span", { class: "token mono" }, visible(reading.token))),
      score(reading),
      reading.flags.map((flag) => el("span", { class: "flag", title: FLAGS[flag] ?? "" }, flag.replaceAll("_", " "))),
      actions),
    words(reading, shown, filter),
    little(reading),
    shown.length ? detail(shown, filter, reading.samples !== undefined) : null,
    withheld(reading, shown, filter),
    reason(reading),
    unparsed(reading),
    samples(reading));
}

function passesTrust(claim, filter) {
  return typeof claim.p_true === "number" && claim.p_true >= filter.trust;
}

function score(reading) {
  const trust = trustOf(reading);
  return [
    el("span", { class: "score", title: "share of the activation's direction that the words explain: 1 is perfect, 0 no better than the mean; the floor is what words that say nothing of it score here" },
      bar(reading.fve_token, "fve", reading.floor_fve), `FVE ${number(reading.fve_token)}`, typeof reading.floor_fve === "number" && ` · floor ${number(reading.floor_fve)}`),
    trust && el("span", { class: "score", title: "mean and lowest p_true of the claims" }, bar(trust.mean, "trust"), `trust ${trustShown(reading)}`),
  ];
}

/** A text with each claim underlined by its trust, doubtful ones dimmed and struck through. */
function told(text, claims) {
  return pieces(text, claims).map(({ text: said, verdict, pTrue }) => {
    if (pTrue === null && !verdict) return highlighted(said);
    const title = [pTrue !== null && `p_true ${probability(pTrue)}`, doubtful(pTrue) && "doubtful", verdict].filter(Boolean).join(", ");
    const look = ["claim", pTrue !== null && `p${Math.round(10 * pTrue)}`, doubtful(pTrue) && "doubtful"].filter(Boolean).join(" ");
    return el(doubtful(pTrue) ? "s" : "span", { class: look, title }, highlighted(said));
  });
}

/** The explanation; under a trust threshold only what reaches it. */
function words(reading, shown, filter) {
  if (reading.explanation === null) return el("p", { class: "failed" }, "no explanation came out (parse failed)");
  if (!filter.trust) return el("p", { class: "words" }, told(reading.explanation, reading.claims));
  if (!shown.length) return el("p", { class: "failed" }, `abstains: no claim has p_true ≥ ${number(filter.trust)}`);
  return el("p", { class: "words" }, told(shown.map((claim) => claim.text).join(". "), shown));
}

function little(reading) {
  const reasons = littleToSay(reading);
  return reasons ? el("p", { class: "soft small little" }, reasons) : null;
}

/** The table behind the words; open where its claims are searched. */
function detail(list, filter, sampled) {
  const gone = doubtfulClaims(list.filter((claim) => doubtful(claim.p_true)).length);
  return el("details", { class: "detail", open: Boolean(filter.words || filter.kind || filter.verdict) },
    el("summary", {}, `${list.length} claim${list.length === 1 ? "" : "s"}${gone ? `, ${gone}` : ""}`),
    claims(list, filter, sampled));
}

function withheld(reading, shown, filter) {
  const n = reading.claims.length - shown.length;
  return n && filter.trust ? el("p", { class: "soft small" }, `${n} claim${n > 1 ? "s" : ""} withheld by the trust threshold`) : null;
}

function claims(list, filter, sampled) {
  const decided = list.some((claim) => claim.verdict);
  const [probed, carried] = ["probe", "leverage"].map((name) => list.some((claim) => typeof claim[name] === "number"));
  const narrowed = filter.words || filter.kind || filter.verdict;
  return el("table", { class: "claims" },
    el("thead", {}, el("tr", {},
      el("th", { scope: "col" }, "claim"),
      el("th", { scope: "col", title: "calibrated probability that the claim is true" }, "p_true"),
      decided && el("th", { scope: "col", title: "what the text says, where it decides the claim" }, "verdict"),
      sampled && el("th", { scope: "col", class: "n", title: "share of the samples that make the claim" }, "agree"),
      el("th", { scope: "col", class: "n", title: "share of the readings within two tokens that make the claim" }, "near"),
      probed && el("th", { scope: "col", class: "n", title: "probability that a probe of the activation gives this value" }, "probe"),
      carried && el("th", { scope: "col", class: "n", title: "how much worse the vector comes back without these words" }, "carries"))),
    el("tbody", {}, list.map((claim) => el("tr", { class: [narrowed && !claimPasses(claim, filter) && "dim", doubtful(claim.p_true) && "doubtful"].filter(Boolean).join(" ") },
      el("th", { scope: "row" }, el(doubtful(claim.p_true) ? "s" : "span", {}, highlighted(claim.text)), claim.relation && el("span", { class: "kind", title: `said of: ${claim.subject ?? "the text"}` }, stated(claim))),
      el("td", { "data-label": "p_true" }, typeof claim.p_true === "number" ? [bar(claim.p_true, "trust"), ` ${probability(claim.p_true)}`] : el("span", { class: "soft" }, "–")),
      decided && el("td", { class: `verdict ${claim.verdict ?? ""}`, "data-label": "verdict" }, claim.verdict ?? "–"),
      sampled && el("td", { class: "n", "data-label": "agree" }, number(claim.agreement)),
      el("td", { class: "n", "data-label": "near" }, number(claim.recurrence)),
      probed && el("td", { class: "n", "data-label": "probe" }, number(claim.probe)),
      carried && el("td", { class: "n", "data-label": "carries" }, number(claim.leverage))))));
}

function stated(claim) {
  return `${claim.relation}: ${claim.polarity === "negative" ? "not " : ""}${claim.value ?? "unknown"}`;
}

function unparsed(reading) {
  const said = notUnderstood(reading.unparsed);
  return said && el("p", { class: "soft small unparsed" }, said);
}

function reason(reading) {
  if (!reading.p_true_reason) return null;
  return el("p", { class: "soft small why" }, `no p_true: ${reading.p_true_reason}`);
}

function samples(reading) {
  if (!reading.samples?.length) return null;
  const distinct = new Set(reading.samples.map((sample) => sample.explanation)).size;
  return el("details", { class: "samples" },
    el("summary", {}, `${reading.samples.length} samples, ${distinct} different`),
    el("ol", {}, reading.samples.map((sample) =>
      el("li", {}, sample.explanation === null ? el("span", { class: "failed" }, "parse failed") : highlighted(sample.explanation),
        el("span", { class: "soft small" }, ` direction_mse ${number(sample.direction_mse)}`)))));
}

/** The card of a token whose words are written but not measured yet. */
export function draftCard(pos, token, explanation) {
  return el("article", { class: "card draft", "data-pos": pos },
    el("header", {}, el("h3", {}, el("span", { class: "pos" }, pos), " ", el("span", { class: "token mono" }, visible(token))),
      el("span", { class: "soft" }, "measuring its claims…")),
    el("p", { class: "words" }, explanation ?? "no explanation came out"));
}

/** The card of a token that was selected but not read. */
export function unreadCard(pos, token) {
  return el("article", { class: "card unread", "data-pos": pos },
    el("header", {}, el("h3", {}, el("span", { class: "pos" }, pos), " ", el("span", { class: "token mono" }, visible(token)))),
    el("p", { class: "soft" }, "not read yet"));
}

/** What decides how a card looks, so that an unchanged one is kept. */
export function lookNow() {
  return filtering() ? JSON.stringify(state.filter) : "";
}
