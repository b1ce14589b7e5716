// The claims of a reading as a table, and its scores, each with a word on what it is.

import { bar, el, number, probability } from "./dom.js";
import { doubtful } from "./doubt.js";
import { claimPasses, highlighted } from "./search.js";
import { trustOf } from "./state.js";

const FLAGS = {
  special_token: "a special token, not written by a person",
  template_token: "written by the chat template, not by a person or the model",
  early_position: "too early in the text: the pair was not trained on so little context",
  norm_outlier: "the activation is much longer or shorter than others",
  other_target: "read from another model than the pair was trained on",
  ood: "outside the world that the pair was trained on: the words may be noise, and no claim has a probability",
  parse_failed: "the second model's output held no explanation",
};
const COLUMNS = {
  p_true: "how likely the claim is to be true: a calibrated probability",
  verdict: "whether the text bears the claim out, where that can be decided",
  agree: "the share of the samples that make this claim",
  nearby: "the share of the readings up to two tokens away that make this claim too",
  probe: "the probability that a probe of the same activation gives this claim's value",
  weight: "how much worse the activation comes back when these words are left out",
};
const RELATIONS = {
  edge: "place in the sentence", species: "kind", gear: "wears", spot: "where the thing is", belief: "believed place",
  say: "will say", certainty: "how sure", in_bracket: "in brackets", last_word: "last word", last_word_2: "last word but one", last_word_3: "last word but two",
};
const VALUES = { edge: { mid: "inside", end: "at its end" } };

/** What a relation is called on the page. */
export function relationName(relation) {
  return RELATIONS[relation] ?? relation.replaceAll("_", " ");
}

function stated({ relation, value, polarity }) {
  return `${relationName(relation)}: ${polarity === "negative" ? "not " : ""}${VALUES[relation]?.[value] ?? value ?? "unknown"}`;
}

export function flagged(flag) {
  return el("span", { class: "flag", title: FLAGS[flag] ?? "" }, flag.replaceAll("_", " "));
}

/** Score, trust and flags, a line each. */
export function scores(reading) {
  const trust = trustOf(reading);
  const floor = typeof reading.floor_fve === "number" && ` Words that say nothing of this activation would score ${number(reading.floor_fve)} here (the floor).`;
  return el("dl", { class: "scores" },
    el("dt", {}, "FVE ", number(reading.fve_token)),
    el("dd", {}, bar(reading.fve_token, "fve", reading.floor_fve), "How much of the activation comes back from the words alone: 1 is all of it, 0 no more than an average guess.", floor),
    trust && [el("dt", {}, "trust ", probability(trust.mean)),
      el("dd", {}, bar(trust.mean, "trust"), `The mean probability of the claims; the lowest is ${probability(trust.min)}.`)],
    reading.flags.map((flag) => [el("dt", {}, flag.replaceAll("_", " ")), el("dd", {}, FLAGS[flag] ?? "")]));
}

/** One row a claim. */
export function claimTable(list, filter, sampled) {
  const given = (name) => list.some((claim) => typeof claim[name] === "number");
  const narrowed = filter.words || filter.kind || filter.verdict;
  const shown = Object.keys(COLUMNS).filter((name) => ({
    verdict: list.some((claim) => claim.verdict), agree: sampled, nearby: given("recurrence"), probe: given("probe"), weight: given("leverage"),
  })[name] ?? true);
  const cells = {
    p_true: (claim) => (typeof claim.p_true === "number" ? [bar(claim.p_true, "trust"), ` ${probability(claim.p_true)}`] : "–"),
    verdict: (claim) => el("span", { class: `verdict ${claim.verdict ?? ""}` }, claim.verdict ?? "–"),
    agree: (claim) => number(claim.agreement), nearby: (claim) => number(claim.recurrence), probe: (claim) => number(claim.probe), weight: (claim) => number(claim.leverage),
  };
  const row = (claim) => el("tr", { class: [narrowed && !claimPasses(claim, filter) && "dim", doubtful(claim.p_true) && "doubtful"].filter(Boolean).join(" ") },
    el("th", { scope: "row" }, el(doubtful(claim.p_true) ? "s" : "span", {}, highlighted(claim.text)), claim.relation && el("span", { class: "kind" }, stated(claim))),
    shown.map((name) => el("td", { class: name === "p_true" || name === "verdict" ? null : "n", "data-label": name }, cells[name](claim))));
  return [
    el("table", { class: "claims" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "claim"), shown.map((name) => el("th", { scope: "col", class: name === "p_true" || name === "verdict" ? null : "n" }, name)))),
      el("tbody", {}, list.map(row))),
    el("dl", { class: "columns" }, shown.map((name) => [el("dt", {}, name), el("dd", {}, COLUMNS[name])])),
  ];
}
