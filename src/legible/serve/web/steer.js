// Steering: edit the words of an explanation, see what the target says then.

import { post } from "./api.js";
import { byId, el, field, interval, number, visible } from "./dom.js";
import { chart } from "./plot.js";
import { read } from "./runs.js";
import { emit, on, state } from "./state.js";
import { changes, marked } from "./words.js";
import { showError, work } from "./working.js";

const parts = {};

export function setUpSteer() {
  build();
  on("steer-at", (pos) => { parts.pos.value = pos; byId("tab-steer").click(); fill(); parts.edited.focus(); });
  on("view", (view) => view === "steer" && shown());
  on("run", () => { parts.of = null; if (state.view === "steer") shown(); });
  on("source", () => { state.steered = null; parts.of = null; parts.results.replaceChildren(); });
}

function build() {
  Object.assign(parts, {
    pos: el("input", { type: "number", min: 0, value: 0, id: "steer-pos" }),
    before: el("p", { class: "words", id: "steer-before" }),
    edited: el("textarea", { rows: 3, id: "steer-edited", spellcheck: "false", maxlength: 4000 }),
    preview: el("p", { class: "words preview", "aria-label": "The edit" }),
    strengths: el("input", { type: "text", id: "steer-strengths", placeholder: "proposed, with a sweep", size: 22 }),
    mode: el("select", { id: "steer-mode" },
      el("option", { value: "later" }, "add at this token and all later ones"),
      el("option", { value: "one" }, "add at this token alone"),
      el("option", { value: "patch" }, "patch this token in whole")),
    samples: el("input", { type: "number", min: 1, max: 16, value: 1 }),
    tokens: el("input", { type: "number", min: 1, max: 256, value: 60 }),
    temperature: el("input", { type: "number", min: 0, max: 2, step: 0.1, value: 0 }),
    controls: el("input", { type: "checkbox", checked: true }),
    results: el("div", { id: "steered", tabindex: "-1" }),
    button: el("button", { class: "main", type: "submit" }, "Steer"),
    text: el("p", { class: "soft" }),
  });
  parts.pos.addEventListener("change", fill);
  parts.edited.addEventListener("input", preview);
  byId("view-steer").append(
    el("form", { class: "steer", id: "steer-form", on: { submit: (event) => { event.preventDefault(); steer(); } } },
      parts.text,
      el("div", { class: "row" }, field("Token", parts.pos), el("button", { type: "button", id: "steer-read", on: { click: readHere } }, "Read it")),
      el("p", { class: "soft small", id: "steer-before-label" }, "It reads"), parts.before,
      el("label", { for: "steer-edited" }, "Change the words"), parts.edited, parts.preview,
      el("div", { class: "row" },
        field("How", parts.mode), field("Strengths", parts.strengths), field("New tokens", parts.tokens),
        field("Continuations", parts.samples), field("Temperature", parts.temperature),
        el("label", {}, parts.controls, " controls: random and unrelated edit")),
      el("div", { class: "row" }, parts.button,
        el("span", { class: "soft small" }, "Strengths are lengths of the added vector in units of the activation's norm (shares of the way, when patching)."))),
    parts.results);
}

function shown() {
  const { run } = state;
  parts.text.textContent = run?.tokens.length
    ? "The text of the Read view is continued behind its last token; the stream is changed from the chosen token on."
    : "Read a text first, in the Read view.";
  parts.button.disabled = !run?.tokens.length;
  if (run && parts.of !== run) {
    parts.of = run;
    parts.pos.max = run.tokens.length - 1;
    parts.pos.value = Math.max(...(state.selection.size ? state.selection : [run.tokens.length - 1]));
    fill();
  }
}

function fill() {
  const { run } = state;
  const pos = Number(parts.pos.value);
  const reading = run?.readings.get(pos);
  parts.of = run;
  const token = run?.tokens[pos];
  byId("steer-before-label").textContent = token ? `Token ${pos}, “${visible(token.token.trim() || token.token)}”, reads` : "No such token";
  parts.before.replaceChildren(visible(reading?.explanation ?? (token ? "not read yet" : ""), "\n"));
  byId("steer-read").hidden = Boolean(reading) || !token;
  parts.edited.value = reading?.explanation ?? "";
  preview();
}

function preview() {
  const before = state.run?.readings.get(Number(parts.pos.value))?.explanation ?? "";
  parts.preview.replaceChildren(...(before && parts.edited.value !== before ? marked(before, parts.edited.value) : []).map((node) =>
    (node instanceof Node ? node : document.createTextNode(visible(node, "\n")))));
}

async function readHere() {
  const { run } = state;
  const pos = Number(parts.pos.value);
  if (!run?.tokens[pos]) return;
  await work("Reading", (signal) => read(run, [pos], { signal }));
  emit("reading", pos);
  fill();
}

/** The text as the steering API takes it: without the start token that a chat template wrote and the tokenizer adds. */
function plainText(run) {
  if (!run.messages) return run.text;
  const first = run.tokens[0];
  return first.special && run.rendered.startsWith(first.token) ? run.rendered.slice(first.token.length) : run.rendered;
}

function request() {
  const { run } = state;
  const pos = Number(parts.pos.value);
  const before = run?.readings.get(pos)?.explanation;
  if (!before) return void showError("That token is not read yet: there are no words to edit.");
  if (parts.edited.value.trim().split(/\s+/).join(" ") === before.trim().split(/\s+/).join(" ")) {
    parts.edited.focus();
    return void showError("Change some words first: the edit is what steers.");
  }
  const strengths = parts.strengths.value.split(/[\s,;]+/).filter(Boolean).map(Number);
  if (strengths.some((one) => !Number.isFinite(one)) || strengths.length > 9) {
    return void showError("Strengths are at most 9 numbers, for example: 0.2, 0.4, 0.8");
  }
  return {
    source: run.source, text: plainText(run), pos, explanation: before, replacement: parts.edited.value,
    ...(strengths.length ? { strengths } : {}), mode: parts.mode.value, controls: parts.controls.checked,
    samples: Number(parts.samples.value), max_tokens: Number(parts.tokens.value),
    temperature: Number(parts.temperature.value), seed: state.seed,
  };
}

async function steer() {
  const body = request();
  if (!body) return;
  await work("Steering", async (signal) => {
    state.steered = await post("/api/v1/steer", body, signal);
    parts.results.replaceChildren(...steeredNodes(state.steered));
    parts.results.focus({ preventScroll: true });
    parts.results.scrollIntoView({ block: "nearest" });
    return `Steered at ${state.steered.steered.length} strengths. ${state.steered.proposal ? `Proposed: ${number(state.steered.proposal.strength)}.` : ""}`;
  });
}

/** What a steering found, for the page and for reports. */
export function steeredNodes(found) {
  const proposed = found.proposal?.strength;
  const plain = found.untouched.continuations[0]?.text ?? "";
  const names = Object.keys(found.controls ?? {});
  const head = el("tr", {}, ["strength", "steered", "nats a token (cost)", "then reads", ...names.map((name) => `control: ${name}`)].map((name) => el("th", { scope: "col" }, name)));
  const rows = found.steered.map((one, index) => el("tr", { class: one.strength === proposed ? "proposed" : "" },
    el("th", { scope: "row" }, number(one.strength), one.strength === proposed && el("b", {}, " proposed")),
    cell("steered", said(one, plain)),
    cell("nats a token (cost)", `${interval(one.nats)} (${one.cost > 0 ? "+" : ""}${number(one.cost)})`),
    cell("then reads", [one.read ?? "–", one.read_back === undefined ? null : el("span", { class: `small ${one.read_back ? "yes" : "soft"}` }, one.read_back ? " the edit is read back" : " the edit is not read back")]),
    names.map((name) => cell(`control: ${name}`, control(found.controls[name][index], plain)))));
  return [
    el("h2", {}, `Token ${found.pos}, layer ${found.layer}`),
    el("p", { class: "words" }, marked(found.explanation, found.edited)),
    found.proposal && el("p", {}, el("b", {}, `Proposed strength ${number(found.proposal.strength)}`), `: ${found.proposal.reason}`),
    el("p", { class: "effect" }, effect(found)),
    found.unrelated && el("p", { class: "soft small" }, `The unrelated edit: ${found.unrelated}`),
    el("div", { class: "steer-out" },
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Continuations" }, el("table", { class: "steered stack" },
        el("caption", {}, "New words are marked against the untouched continuation."),
        el("thead", {}, head),
        el("tbody", {}, el("tr", { class: "untouched" }, el("th", { scope: "row" }, "untouched"),
          cell("continuation", said(found.untouched, null)), cell("nats a token (cost)", number(found.untouched.nats)), el("td", {}), names.map(() => el("td", {}))), rows))),
      fluency(found, names)),
  ].filter(Boolean);
}

/** What the edit did to the continuation, in a sentence. */
function effect(found) {
  const said = (one) => one.continuations.map(({ text }) => text).join("\n");
  const plain = said(found.untouched);
  if (found.steered.every((one) => said(one) === plain)) {
    return "Nothing changed: at every strength tried the continuation is the untouched one. Larger strengths, more new tokens or another token may show an effect.";
  }
  const wordsOf = (text) => text.match(/[\p{L}\p{N}'-]+/gu) ?? [];
  const edited = changes(found.explanation, found.edited).filter(([kind]) => kind === "new").flatMap(([, text]) => wordsOf(text));
  const fresh = edited.filter((word) => !wordsOf(plain).includes(word));
  const told = fresh.filter((word) => found.steered.some((one) => wordsOf(said(one)).includes(word)));
  const quoted = (words) => words.map((word) => `“${word}”`).join(", ");
  if (told.length) {
    const at = found.steered.filter((one) => wordsOf(said(one)).some((word) => told.includes(word)));
    return `The edit shows: at ${at.length} of ${found.steered.length} strengths the continuation says ${quoted(told)}; untouched it does not.`;
  }
  return fresh.length
    ? `The continuation changed, and does not say ${quoted(fresh)} within its length: more new tokens may.`
    : "The continuation changed; what the edit says, it says untouched as well.";
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
    title: "Loss of fluency: what the untouched target pays for the words.",
    x: { label: "strength" }, y: { label: "nats a token" },
    series: [{ name: "steered", points: points(found.steered) }, ...names.map((name) => ({ name, points: points(found.controls[name]) }))],
    levels: typeof found.untouched.nats === "number" ? [{ y: found.untouched.nats, label: "untouched" }] : [],
    marks: found.proposal ? [{ x: found.proposal.strength, label: "proposed" }] : [],
  });
}
