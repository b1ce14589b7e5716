// Searching and filtering the readings of a text, claim by claim.

import { byId, el } from "./dom.js";
import { relationName } from "./claims.js";
import { emit, on, state } from "./state.js";

const LATE = 120; // milliseconds after the last key

/** Whether any filter is set. */
export function filtering() {
  const { words, kind, verdict, trust, unflagged } = state.filter;
  return Boolean(words || kind || verdict || trust || unflagged);
}

/** Whether a claim is shown: all words are in it, and relation, verdict and trust fit. */
export function claimPasses(claim, filter = state.filter) {
  const text = `${claim.text} ${claim.relation ?? ""} ${claim.value ?? ""}`.toLowerCase();
  const verdict = claim.verdict ?? "undecided";
  return wordsOf(filter).every((word) => text.includes(word))
    && (!filter.kind || claim.relation === filter.kind)
    && (!filter.verdict || verdict === filter.verdict)
    && (!filter.trust || (typeof claim.p_true === "number" && claim.p_true >= filter.trust));
}

/** Whether a reading is shown. Trust alone hides no reading: what it withholds is counted on the card. */
export function passes(reading, filter = state.filter) {
  if (filter.unflagged && reading.flags.length) return false;
  if (!filter.words && !filter.kind && !filter.verdict) return true;
  if (reading.claims.some((claim) => claimPasses(claim, filter))) return true;
  const text = (reading.explanation ?? "").toLowerCase();
  return !filter.kind && !filter.verdict && !filter.trust && wordsOf(filter).every((word) => text.includes(word));
}

function wordsOf(filter) {
  return filter.words.toLowerCase().split(/\s+/).filter(Boolean);
}

/** A text with the searched words marked. */
export function highlighted(text) {
  const words = wordsOf(state.filter).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  if (!words.length) return [text];
  const parts = text.split(new RegExp(`(${words.join("|")})`, "iu"));
  return parts.map((part, index) => (index % 2 ? el("mark", {}, part) : part));
}

export function setUpSearch() {
  const { filter } = state;
  let timer = 0;
  const changed = () => { offerKinds(); emit("filter"); };
  const bind = (id, event, take) => byId(id).addEventListener(event, () => {
    take(byId(id));
    clearTimeout(timer);
    timer = setTimeout(changed, LATE);
  });
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  bind("words", "input", (box) => (filter.words = box.value.trim()));
  bind("kind", "change", (box) => (filter.kind = box.value));
  bind("verdict", "change", (box) => (filter.verdict = box.value));
  bind("trust", "input", (box) => { filter.trust = Number(box.value); showTrust(); });
  bind("unflagged", "change", (box) => (filter.unflagged = box.checked));
  on("run", () => { show(); offerKinds(); });
  on("reading", offerKinds);
  on("filter-reset", () => { show(); emit("filter"); });
}

function showTrust() {
  const { trust } = state.filter;
  byId("trust-value").textContent = trust ? `p_true ≥ ${trust.toFixed(2)}` : "off";
}

function show() {
  const { words, verdict, trust, unflagged } = state.filter;
  byId("words").value = words;
  byId("verdict").value = verdict;
  byId("trust").value = trust;
  byId("unflagged").checked = unflagged;
  showTrust();
}

/** The relations that occur, in the list. */
function offerKinds() {
  const box = byId("kind");
  const kinds = new Set(state.filter.kind ? [state.filter.kind] : []);
  for (const reading of state.run?.readings.values() ?? []) for (const claim of reading.claims) if (claim.relation) kinds.add(claim.relation);
  if ([...box.options].slice(1).map((one) => one.value).join() !== [...kinds].sort().join()) {
    box.replaceChildren(el("option", { value: "" }, "anything"), ...[...kinds].sort().map((kind) => el("option", { value: kind }, relationName(kind))));
  }
  box.value = state.filter.kind;
}
