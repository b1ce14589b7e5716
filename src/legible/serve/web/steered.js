// What a steering did: first what the edit changed, or that nothing did; then every strength beside its controls.

import { el, interval, number } from "./dom.js";
import { chart } from "./plot.js";
import { changes, marked } from "./words.js";

/** For the page and for reports. `open`: with the table unfolded. */
export function steeredNodes(found, open = false) {
  const { sentence, best } = effect(found);
  const plain = found.untouched.continuations[0]?.text ?? "";
  return [
    el("h2", {}, "What the edit changed"),
    el("p", { class: "effect" }, sentence),
    el("div", { class: "pair outcome" },
      outcome("Untouched, the model writes on", said(found.untouched, null)),
      best && outcome(`Steered at strength ${number(best.strength)}${best.strength === found.proposal?.strength ? ", the one proposed" : ""}`, said(best, plain))),
    el("p", { class: "soft small" }, `At token ${found.pos}, layer ${found.layer}: `, marked(found.explanation, found.edited)),
    found.proposal && el("p", { class: "soft small" }, `Strength ${number(found.proposal.strength)} is proposed: ${found.proposal.reason}.`),
    el("details", { class: "strengths", open },
      el("summary", {}, `All ${found.steered.length} strengths${Object.keys(found.controls ?? {}).length ? ", with controls" : ""}`),
      all(found, plain)),
  ].filter(Boolean);
}

function outcome(title, content) {
  return el("div", { class: "card" }, el("h3", {}, title), content);
}

const saidBy = (one) => one.continuations.map(({ text }) => text).join("\n");
const wordsOf = (text) => text.match(/[\p{L}\p{N}'-]+/gu) ?? [];
const quoted = (words) => words.map((word) => `“${word}”`).join(", ");

/** What the edit did to the continuation, in a sentence, and the strength that shows it best. */
function effect(found) {
  const plain = saidBy(found.untouched);
  const changed = found.steered.filter((one) => saidBy(one) !== plain);
  if (!changed.length) {
    return { sentence: "Nothing changed: at every strength tried the model writes the same as untouched. Larger strengths, a longer continuation or another token may show an effect.", best: null };
  }
  const edited = changes(found.explanation, found.edited).filter(([kind]) => kind === "new").flatMap(([, text]) => wordsOf(text));
  const fresh = edited.filter((word) => !wordsOf(plain).includes(word));
  const says = (one) => fresh.filter((word) => wordsOf(saidBy(one)).includes(word)).length;
  const showing = changed.filter((one) => says(one));
  const best = (list) => list.find((one) => one.strength === found.proposal?.strength) ?? list[0];
  if (showing.length) {
    const words = fresh.filter((word) => showing.some((one) => wordsOf(saidBy(one)).includes(word)));
    return { sentence: `The edit shows: at ${showing.length} of ${found.steered.length} strengths the continuation says ${quoted(words)}; untouched it does not.`, best: best(showing) };
  }
  return { best: best(changed), sentence: fresh.length
    ? `The continuation changed, but it does not say ${quoted(fresh)} within its length; a longer one may.`
    : "The continuation changed; what the edit says, it says untouched as well." };
}

function all(found, plain) {
  const proposed = found.proposal?.strength;
  const names = Object.keys(found.controls ?? {});
  const heads = ["strength", "steered", "nats per token (cost)", "then reads", ...names.map((name) => `control: ${name}`)];
  const rows = found.steered.map((one, index) => el("tr", { class: one.strength === proposed ? "proposed" : "" },
    el("th", { scope: "row" }, number(one.strength), one.strength === proposed && el("b", {}, " proposed")),
    cell("steered", said(one, plain)),
    cell("nats per token (cost)", `${interval(one.nats)} (${one.cost > 0 ? "+" : ""}${number(one.cost)})`),
    cell("then reads", [one.read ?? "–", one.read_back === undefined ? null : el("span", { class: `small ${one.read_back ? "yes" : "soft"}` }, one.read_back ? " the edit is read back" : " the edit is not read back")]),
    names.map((name) => cell(`control: ${name}`, control(found.controls[name][index], plain)))));
  return el("div", { class: "steer-out" },
    found.unrelated && el("p", { class: "soft small" }, `The control "unrelated" makes another edit of the same length: ${found.unrelated}`),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Continuations" }, el("table", { class: "steered stack" },
      el("caption", {}, "Words that the untouched continuation does not have are marked. The cost is how much less likely the untouched model finds the words: the higher, the less fluent."),
      el("thead", {}, el("tr", {}, heads.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, el("tr", { class: "untouched" }, el("th", { scope: "row" }, "untouched"),
        cell("continuation", said(found.untouched, null)), cell("nats per token (cost)", number(found.untouched.nats)), el("td", {}), names.map(() => el("td", {}))), rows))),
    fluency(found, names));
}

function cell(label, content) {
  return el("td", { "data-label": label }, content);
}

function said(one, plain) {
  return one.continuations.map(({ text, cut }) => el("p", { class: "said" }, plain === null ? text : marked(plain, text, { gone: false }), cut && el("span", { class: "soft" }, " …")));
}

function control(one, plain) {
  return one ? [said(one, plain), el("span", { class: "soft small" }, `cost ${number(one.cost)}`)] : "–";
}

function fluency(found, names) {
  const points = (tries) => tries.filter((one) => typeof one.nats === "number").map((one) => [one.strength, one.nats]);
  return chart({
    title: "Loss of fluency: how unlikely the untouched model finds the words.",
    x: { label: "strength" }, y: { label: "nats per token" },
    series: [{ name: "steered", points: points(found.steered) }, ...names.map((name) => ({ name, points: points(found.controls[name]) }))],
    levels: typeof found.untouched.nats === "number" ? [{ y: found.untouched.nats, label: "untouched" }] : [],
    marks: found.proposal ? [{ x: found.proposal.strength, label: "proposed" }] : [],
  });
}
