// Positions by checkpoints: what each of them reads at each token of the same text.

import { arrange, byId, el, tint, visible } from "./dom.js";
import { notes, plain } from "./doubt.js";
import { read, runOf } from "./runs.js";
import { on, scoreShown, select, shareOf, state } from "./state.js";
import { work } from "./working.js";

let box = null;

export function setUpMatrix() {
  const button = el("button", { class: "main", type: "button", id: "matrix-read", on: { click: readAll } }, "Read with every checkpoint");
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

async function readAll() {
  const wanted = state.selection.size ? [...state.selection].sort((a, b) => a - b) : "all";
  await work("Reading with every checkpoint", async (signal) => {
    for (const run of matrixRuns()) await read(run, wanted, { signal, changed: (frame) => frame.type === "start" && draw() });
    draw();
    return "Every checkpoint has read the text.";
  });
  draw();
}

function draw() {
  const { run, sources, selection } = state;
  const several = sources.length > 1;
  byId("matrix-help").textContent = [
    several ? "" : "One checkpoint is loaded. Several, of other layers or trainings, stand side by side after: legible serve FIRST SECOND.",
    run ? (selection.size ? `Only the selected tokens (${selection.size}) are read.` : "All tokens are read; a selection in the Read view narrows them.") : "Read a text first, in the Read view.",
  ].filter(Boolean).join(" ");
  byId("matrix-read").disabled = !run;
  if (!run) return void arrange(box, []);
  const runs = matrixRuns();
  const positions = run.tokens.map((_, pos) => pos).filter((pos) => !selection.size || selection.has(pos));
  const rows = positions.map((pos) => el("tr", {}, el("th", { scope: "row" }, tokenButton(run, pos)), runs.map((one) => cellOf(one, run, pos))));
  const heads = ["token", ...runs.map((one) => `${one.source} · layer ${one.layer}`)];
  const caption = `Tinted by ${state.tint === "trust" ? "trust" : "FVE"}. A token's button selects it for the Read view.`;
  const grid = el("table", { class: "matrix" }, el("caption", {}, caption),
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, rows));
  box.replaceChildren(el("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Matrix of positions and checkpoints" }, grid));
}

function tokenButton(run, pos) {
  const choose = () => { select([pos]); byId("tab-read").click(); };
  return el("button", { type: "button", class: "quiet token", on: { click: choose } }, el("span", { class: "pos" }, pos), " ", visible(run.tokens[pos].token));
}

/** A checkpoint's reading of a token; one whose target splits the text otherwise has no such token. */
function cellOf(one, run, pos) {
  if (one.tokens.length && one.tokens[pos]?.token !== run.tokens[pos].token) return el("td", { class: "soft" }, "other tokens");
  return matrixCell(one.readings.get(pos));
}

function matrixCell(reading) {
  if (!reading) return el("td", { class: "soft" }, "not read");
  return el("td", { class: `${tint(shareOf(reading))} ${state.tint}` },
    reading.explanation === null ? el("span", { class: "failed" }, "parse failed") : plain(reading.explanation, reading.claims),
    notes(reading) && el("span", { class: "share" }, ` (${notes(reading)})`),
    el("span", { class: "share" }, ` ${scoreShown(reading)}`));
}
