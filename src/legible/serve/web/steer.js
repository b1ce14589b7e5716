// Steering: edit the words of an explanation, see what the target says then.

import { post } from "./api.js";
import { byId, el, field, number, visible } from "./dom.js";
import { read } from "./runs.js";
import { emit, inView, on, state } from "./state.js";
import { steeredNodes } from "./steered.js";
import { marked } from "./words.js";
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
    strengths: el("input", { type: "text", id: "steer-strengths", placeholder: "automatic", size: 22 }),
    mode: el("select", { id: "steer-mode" },
      el("option", { value: "later" }, "from this token on"),
      el("option", { value: "one" }, "at this token alone"),
      el("option", { value: "patch" }, "replace this token's activation")),
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
      el("div", { class: "row" }, field("Token number", parts.pos), el("button", { type: "button", id: "steer-read", on: { click: readHere } }, "Read it")),
      el("p", { class: "soft small", id: "steer-before-label" }, "It reads"), parts.before,
      el("label", { for: "steer-edited" }, "Change the words"), parts.edited, parts.preview,
      el("div", { class: "row" }, parts.button),
      el("details", { class: "settings" }, el("summary", {}, "Options"),
        el("div", { class: "row" },
          field("Where", parts.mode), field("Strengths", parts.strengths), field("New tokens", parts.tokens),
          field("Continuations", parts.samples), field("Temperature", parts.temperature),
          el("label", {}, parts.controls, " controls: a random change and an unrelated edit")),
        el("p", { class: "soft small" }, "A strength is the length of what is added, in lengths of the activation itself; when the activation is replaced, how far it moves towards the new one. Left empty, several are tried and one is proposed."))),
    parts.results);
}

function shown() {
  const { run } = state;
  parts.text.textContent = run?.tokens.length
    ? "Change what the reading says, and see how the model then goes on with the text of the Read view: its activation is moved the way your edit points."
    : "Read a text first, in the Read view.";
  parts.button.disabled = !run?.tokens.length;
  if (run && parts.of !== run) {
    parts.of = run;
    parts.pos.max = run.tokens.length - 1;
    parts.pos.value = inView(run).at(-1) ?? run.tokens.length - 1;
    fill();
  }
}

function fill() {
  const { run } = state;
  const pos = Number(parts.pos.value);
  const reading = run?.readings.get(pos);
  parts.of = run;
  const token = run?.tokens[pos];
  byId("steer-before-label").textContent = token ? `At token ${pos}, “${visible(token.token.trim() || token.token)}”, the reading says` : "No such token";
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
