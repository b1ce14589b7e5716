// Positions by checkpoints: what each of them reads at each token of the same text.

import { arrange, byId, el, tint, visible } from "./dom.js";
import { notes, plain } from "./doubt.js";
import { read, runOf } from "./runs.js";
import { on, scoreShown, select, shareOf, state } from "./state.js";
import { work } from "./working.js";

let box = null;

export function setUpMatrix() {
  const button = el("button", { class: "main", type: "button", id: "matrix-read", on: { click: readAll } }, "Read");
  box = el("div", { id: "matrix" });
  byId("view-matrix").append(el("p", { class: "soft", id: "matrix-help" }), el("div", { class: "row" }, button), box);
  on("view", (view) => view === "matrix" && draw());
  for (const topic of ["run", "tint", "source"]) on(topic, () => state.view === "matrix" && draw());
}

/** One run a checkpoint, in order of layer. */
export function matrixRuns() {
  const prompt = state.run ?? { text: state.text };
  return [...state.sources].sort((a, b) => a.layer - b.layer).map((one) => runOf(one.id, prompt));
}

/** The tokens that are compared: several that are selected, else all. One that is selected is only looked at. */
function wanted(run) {
  const all = run.tokens.map((_, pos) => pos);
  return state.selection.size > 1 ? all.filter((pos) => state.selection.has(pos)) : all;
}

async function readAll() {
  const positions = wanted(state.run);
  await work("Reading with every checkpoint", async (signal) => {
    for (const run of matrixRuns()) await read(run, positions, { signal, changed: (frame) => frame.type === "start" && draw() });
    draw();
    return "Every checkpoint has read the text.";
  });
  draw();
}

function draw() {
  const { run, sources } = state;
  const several = sources.length > 1;
  byId("matrix-help").textContent = !run ? "Read a text first, in the Read view." : [
    "What each loaded checkpoint reads at each token of the text.",
    !several && "Only one is loaded. To see others beside it, of other layers or trainings: legible serve FIRST SECOND.",
    state.selection.size > 1 && `Only the ${state.selection.size} selected tokens are shown.`,
  ].filter(Boolean).join(" ");
  byId("matrix-read").hidden = true;
  if (!run) return void arrange(box, []);
  const runs = matrixRuns();
  const positions = wanted(run);
  byId("matrix-read").hidden = runs.every((one) => positions.every((pos) => one.readings.has(pos)));
  byId("matrix-read").textContent = several ? "Read with every checkpoint" : "Read every token";
  const rows = positions.map((pos) => el("tr", {}, el("th", { scope: "row" }, tokenButton(run, pos)), runs.map((one) => cellsOf(one, run, pos))));
  const caption = `${scoreMeaning()} A click on a token opens it in the Read view.`;
  const grid = el("table", { class: "matrix" }, el("caption", {}, caption),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "token"), runs.map((one) => el("th", { scope: "col", colspan: 2 }, `${one.source} · layer ${one.layer}`)))), el("tbody", {}, rows));
  box.replaceChildren(el("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Matrix of positions and checkpoints" }, grid));
}

/** What the number of a cell is, and its colour. */
export function scoreMeaning() {
  return state.tint === "trust" ? "The number is the mean and the lowest trust of the claims."
    : "The number is FVE, how much of the activation comes back from the words; the colour, how much of that empty words would not score there.";
}

function tokenButton(run, pos) {
  const choose = () => { select([pos]); byId("tab-read").click(); };
  return el("button", { type: "button", class: "quiet token", on: { click: choose } }, el("span", { class: "pos" }, pos), " ", visible(run.tokens[pos].token));
}

/** A checkpoint's reading of a token; one whose target splits the text otherwise has no such token. */
function cellsOf(one, run, pos) {
  if (one.tokens.length && one.tokens[pos]?.token !== run.tokens[pos].token) return readingCells(null, "other tokens");
  return readingCells(one.readings.get(pos));
}

/** A reading in two cells: its score, coloured by it, and its words. */
export function readingCells(reading, missing = "not read", marked = (text) => text) {
  if (!reading) return [el("td", { class: "scored" }), el("td", { class: "soft" }, missing)];
  return [
    el("td", { class: `scored n ${tint(shareOf(reading))} ${state.tint}` }, scoreShown(reading)),
    el("td", {}, reading.explanation === null ? el("span", { class: "failed" }, "no explanation came out") : marked(plain(reading.explanation, reading.claims)),
      notes(reading) && el("span", { class: "share" }, ` (${notes(reading)})`)),
  ];
}
