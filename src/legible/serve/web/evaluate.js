// What was measured of the loaded checkpoint: the control table, the curves, and how far p_true can be trusted.

import { get } from "./api.js";
import { byId, el, interval, number, table } from "./dom.js";
import { relationName } from "./claims.js";
import { chart } from "./plot.js";
import { on, state } from "./state.js";
import { showError } from "./working.js";

let box = null;
const found = new Map();

export function setUpEvaluate() {
  box = el("div", { id: "evaluation" });
  byId("view-evaluate").append(box);
  on("view", (view) => view === "evaluate" && load());
  on("source", () => state.view === "evaluate" && load());
}

async function load() {
  const id = state.source;
  try {
    if (!found.has(id)) found.set(id, await get(`/api/v1/evaluation/${encodeURIComponent(id)}`)); // a reading goes on meanwhile
    if (id === state.source) box.replaceChildren(...evaluationNodes(found.get(id)));
  } catch (error) {
    box.replaceChildren();
    showError(error.message);
  }
}

/** The reports as nodes, or how to make them. */
export function evaluationNodes({ source, evaluation, truth }) {
  return [
    el("h2", {}, `How well ${source} reads`),
    ...(evaluation ? evaluationParts(evaluation) : missing("There is no evaluation beside this checkpoint. To make it:", "evaluate", "evaluation.json")),
    el("h2", {}, "How far p_true can be trusted"),
    ...(truth ? truthParts(truth) : missing("There is no truth report beside this checkpoint. To make it:", "truth", "truth.json")),
  ];
}

function missing(what, verb, file) {
  return [el("p", {}, what), el("pre", { tabindex: "0" }, `legible ${verb} CHECKPOINT --json > ${file} && mv ${file} CHECKPOINT/`),
    el("p", { class: "soft small" }, "CHECKPOINT is its folder, for a run RUN/checkpoint. Then start the server again: reports are read at start.")];
}

const FEWEST = 30; // cases from which a figure is a headline, as `legible.stats` has it

/** Figures in large type; those of too few cases stand below in a line each. */
function big(items) {
  const known = items.filter(([, value]) => value !== null && value !== undefined);
  const few = ([, value]) => typeof value?.n === "number" && value.n < FEWEST;
  return [
    el("ul", { class: "big" }, known.filter((item) => !few(item)).map(([name, value, what, digits = 2]) =>
      el("li", {}, el("span", {}, name), el("b", {}, number(value?.value ?? value, digits)),
        el("span", {}, [typeof value?.low === "number" && `[${number(value.low, digits)}, ${number(value.high, digits)}]`, value?.n && `n ${value.n}`].filter(Boolean).join(" ")), el("span", {}, what)))),
    ...known.filter(few).map(([name, value, what, digits = 2]) =>
      el("p", { class: "soft few" }, `${name} ${interval(value, digits)}, n ${value.n}: too few to go by (under ${FEWEST}); ${what}`)),
  ];
}

function evaluationParts(report) {
  const claims = report.claims ?? {};
  return [
    el("p", { class: "soft" }, `${report.rows ?? report.fve?.n ?? "?"} held-out tokens, seed ${report.seed}, commit ${String(report.commit).slice(0, 12)}. Brackets are 95 % intervals over documents.`),
    ...big([
      ["FVE", report.fve, "of the activation's direction"], ["context FVE", report.context_fve, "beyond the last two tokens and the position"],
      ["matched minus mismatched", report.matched_minus_mismatched, "cosine with its own activation, minus that with another document's"],
      ["KL recovered", report.kl_recovered, "of the harm that the mean in its place does to the next token"],
      ["context precision", claims.context_precision, "share of true claims among those that the last 8 tokens do not give away"],
      ["context lift", claims.context_lift, "more than a writer that gets no activation"], ["recall", claims.recall, "of what a probe can find in the activation"],
      ["foresight", claims.foresight, "agreement with the target's own later choice"], ["parse failures", report.parse_failures, `of ${report.rows} rows`, 0],
    ]),
    report.note && el("p", { class: "soft small" }, report.note),
    controls(report),
    bounds(report),
    kinds(claims.kinds),
    training(report.rl),
  ].filter(Boolean);
}

/** The control battery, the reading first; every row says what it rules out. */
function controls(report) {
  if (!report.controls?.length) return null;
  const claims = report.claims ?? {};
  const reading = { name: "the reading", fve: report.fve, context_fve: report.context_fve, context_precision: claims.context_precision };
  return table("Controls: each row is a doubt, and how the reading does against it. The doubt is ruled out where the reading's lead is above 0 or, where claims are rewritten, nearly all of them are kept.",
    ["control", ["FVE", "n"], ["context FVE", "n"], ["reading's lead", "n"], ["context precision", "n"], ["claims kept", "n"], "the doubt, and how it was tested"],
    [reading, ...report.controls].map((row) => [
      String(row.name).replaceAll("_", " "), [interval(row.fve ?? null), "n"], [interval(row.context_fve ?? null), "n"], [interval(row.difference ?? null), "n"],
      [interval(row.context_precision ?? null), "n"], [interval(row.retention ?? null), "n"], [row.rules_out, row.note].filter(Boolean).join(" · ")]));
}

function bounds(report) {
  const rows = [["floors", "floor"], ["references", "reference"]].flatMap(([key, name]) =>
    Object.entries(report[key] ?? {}).map(([what, value]) => [
      what.replaceAll("_", " "), name, [interval(report[`${name}_intervals`]?.[what] ?? value), "n"], [interval(report.gains?.[what] ?? null), "n"]]));
  return rows.length ? table("Floors to clear, and references to compare with", ["what", "as", ["FVE", "n"], ["reading's lead", "n"]], rows) : null;
}

function kinds(found) {
  const rows = Object.entries(found ?? {}).filter(([, row]) => row.claims || row.decodable);
  if (!rows.length) return null;
  return table("By kind of fact", ["kind", ["claims", "n"], ["precision", "n"], ["context precision", "n"], ["decodable", "n"], ["recall", "n"]],
    rows.map(([kind, row]) => [relationName(kind), [number(row.claims, 0), "n"], [number(row.precision), "n"], [number(row.context_precision), "n"], [number(row.decodable, 0), "n"], [number(row.recall), "n"]]));
}

function training(rl) {
  const measured = rl?.measured ?? [];
  const series = (name, key) => ({ name, points: measured.filter((row) => typeof row[key] === "number").map((row) => [row.step, row[key]]) });
  if (measured.length < 2) return null;
  return el("div", { class: "plots" }, chart({
    title: "Reinforcement learning, measured on held-out documents.", x: { label: "step" }, y: { label: "share" },
    series: [series("context FVE", "context_fve"), series("FVE", "fve"), series("context precision", "context_precision")],
    marks: typeof rl.best_step === "number" ? [{ x: rl.best_step, label: "kept" }] : [],
  }));
}

function truthParts(truth) {
  const value = (key) => (truth[key] === null ? null : truth.intervals?.[key] ?? truth[key]);
  return [
    el("p", { class: "soft" }, `${truth.rows} tokens of ${truth.documents} held-out documents, ${truth.samples} sample${truth.samples === 1 ? "" : "s"} a reading, verdicts: ${truth.verdicts ?? "none"}, seed ${truth.seed}, commit ${String(truth.commit).slice(0, 12)}.`),
    ...big([
      ["precision at half coverage", value("precision_at_half_coverage"), truth.threshold_at_half_coverage === null ? "" : `at p_true ≥ ${number(truth.threshold_at_half_coverage, 3)}`, 3],
      ["calibration error", value("ece"), "mean distance of p_true and precision, 15 bins", 3], ["Brier skill", value("brier_skill"), "over the base rate"],
      ["AUROC", value("auroc"), "a true claim above a wrong one"], ["context precision", value("context_precision"), "share of true claims, all shown", 3], ["recall", value("recall"), "of what a probe can find in the activation", 3],
    ]),
    ...Object.entries(truth.reasons ?? {}).map(([key, reason]) => el("p", { class: "soft" }, `no ${key}: ${reason}`)),
    el("div", { class: "plots" }, reliability(truth.reliability), tradeOff(truth)),
    truthKinds(truth.kinds),
  ].filter(Boolean);
}

/** The reliability diagram: precision of bins of equal mass against their mean p_true. */
function reliability(bins) {
  if (!bins?.length) return null;
  const low = Math.floor(10 * Math.min(...bins.flatMap((bin) => [bin.p_true, bin.precision_low ?? bin.precision]))) / 10;
  const counts = bins.map((bin) => Math.round(bin.claims));
  const [few, many] = [Math.min(...counts), Math.max(...counts)];
  const picture = chart({
    title: `Reliability: on the dashed line p_true is right. ${bins.length} bins of ${few === many ? few : `${few} to ${many}`} claims each; the bars are 95 % intervals.`,
    x: { label: "mean p_true", range: [low, 1] }, y: { label: "precision", range: [low, 1] }, diagonal: true,
    series: [{ name: "precision", points: bins.map((bin) => [bin.p_true, bin.precision]),
      sizes: counts, low: bins.map((bin) => bin.precision_low ?? bin.precision), high: bins.map((bin) => Math.min(1, bin.precision_high ?? bin.precision)) }],
  });
  picture.append(el("details", {}, el("summary", {}, "The bins and their counts"),
    table("Claims in order of p_true", [["p_true from", "n"], ["to", "n"], ["mean", "n"], ["precision", "n"], ["claims", "n"]], bins.map((bin) => [
      [number(bin.low, 3), "n"], [number(bin.high, 3), "n"], [number(bin.p_true, 3), "n"], [interval({ value: bin.precision, low: bin.precision_low, high: bin.precision_high }), "n"], [number(bin.claims, 0), "n"]]))));
  return picture;
}

function tradeOff(truth) {
  const points = (truth.curve ?? []).filter((row) => typeof row.coverage === "number" && typeof row.precision === "number").map((row) => [row.coverage, row.precision]);
  if (points.length < 2) return null;
  return chart({
    title: "Precision against coverage: what is gained by showing only the surest claims, from all of them (right) to few (left).", digits: 3,
    x: { label: "coverage", range: [0, 1] }, y: { label: "precision" }, series: [{ name: "precision", points, dots: false }], marks: [{ x: 0.5, label: "half" }],
  });
}

function truthKinds(found) {
  const rows = Object.entries(found ?? {});
  if (!rows.length) return null;
  return table("p_true by kind of fact; the calibration error (ECE) is the mean distance of p_true and precision", ["kind", ["context claims", "n"], ["precision", "n"], ["mean p_true", "n"], ["ECE", "n"], ["recall", "n"]],
    rows.map(([kind, row]) => [relationName(kind), [number(row.claims, 0), "n"], [number(row.precision, 3), "n"], [number(row.mean_p_true, 3), "n"], [number(row.ece, 3), "n"], [number(row.recall, 3), "n"]]));
}
