// Two readings side by side: two checkpoints on one text, or two texts.

import { arrange, byId, el, field, visible } from "./dom.js";
import { plain } from "./doubt.js";
import { readingCells, scoreMeaning } from "./matrix.js";
import { read, runOf } from "./runs.js";
import { on, state } from "./state.js";
import { aligned, marked } from "./words.js";
import { showError, work } from "./working.js";

const sides = [];
let results = null;
let shown = null;
let different = null;

export function setUpCompare() {
  different = el("input", { type: "checkbox", id: "compare-different" });
  different.addEventListener("change", draw);
  results = el("div", { id: "compared" });
  for (const name of ["Left", "Right"]) {
    sides.push({ source: el("select", { "aria-label": `${name} checkpoint` }), text: el("textarea", { rows: 3, spellcheck: "false", maxlength: 20000, "aria-label": `${name} text` }) });
  }
  byId("view-compare").append(
    el("p", { class: "soft" }, "Two texts read by one checkpoint, or one text read by two: change a word on the right, or choose another checkpoint."),
    el("form", { id: "compare-form", on: { submit: (event) => { event.preventDefault(); compare(); } } },
      el("div", { class: "pair" }, sides.map((side, index) => el("div", {}, field(index ? "Right" : "Left", side.source), side.text))),
      el("div", { class: "row" }, el("button", { class: "main", type: "submit" }, "Compare"), el("label", {}, different, " only tokens that read differently"))),
    results);
  on("view", (view) => view === "compare" && fill());
}

/** The second checkpoint, where there is one, on the same text. */
function fill() {
  sides.forEach((side, index) => {
    if (!side.source.options.length) {
      side.source.append(...state.sources.map((one) => el("option", { value: one.id }, `${one.name} · layer ${one.layer}`)));
      side.source.value = (index ? state.sources.find((one) => one.id !== state.source) : null)?.id ?? state.source;
    }
    if (!side.text.value) side.text.value = state.run && !state.run.messages ? state.run.text : state.text;
  });
}

async function compare() {
  if (sides.some((side) => !side.text.value)) return void showError("Both sides need a text.");
  const runs = sides.map((side) => runOf(side.source.value, { text: side.text.value }));
  await work("Comparing", async (signal) => {
    for (const run of runs) await read(run, "all", { signal });
    shown = runs;
    draw();
    return `${runs[0].tokens.length} and ${runs[1].tokens.length} tokens compared.`;
  });
}

/** The two runs that are compared, for reports; null before. */
export const compared = () => shown;

function draw() {
  if (!shown) return;
  const [left, right] = shown;
  const pairs = aligned(left.tokens.map((token) => token.token), right.tokens.map((token) => token.token));
  const differ = ([i, j]) => left.readings.get(i)?.explanation !== right.readings.get(j)?.explanation;
  const rows = pairs.filter((pair) => !different.checked || differ(pair));
  arrange(results, [el("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Comparison" },
    el("table", { class: "compared" },
      el("caption", {}, `${pairs.filter(differ).length} of ${pairs.length} tokens read differently. What the right says and the left does not is marked. ${scoreMeaning()}`),
      el("thead", {}, el("tr", {}, [["token"], [`left: ${left.source} · layer ${left.layer}`, 2], ["token"], [`right: ${right.source} · layer ${right.layer}`, 2]].map(([name, span]) => el("th", { scope: "col", colspan: span }, name)))),
      el("tbody", {}, rows.map(([i, j]) => el("tr", {}, tokenCell(left, i), words(left, i), tokenCell(right, j), words(right, j, left.readings.get(i)))))))]);
}

function tokenCell(run, pos) {
  return el("th", { scope: "row", class: "mono token" }, pos === null ? "" : [el("span", { class: "pos" }, pos), " ", visible(run.tokens[pos].token)]);
}

function words(run, pos, beside = null) {
  const before = beside && plain(beside.explanation ?? "", beside.claims);
  return readingCells(run.readings.get(pos), pos === null ? "no such token" : "not read",
    (text) => (beside ? marked(before, text, { gone: false }) : text));
}
