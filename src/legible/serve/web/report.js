// The session as a document: HTML that needs no server, JSON, Markdown.

import { card } from "./cards.js";
import { el, number, probability, visible } from "./dom.js";
import { doubtful, notes, plain } from "./doubt.js";
import { shareOf, state, source, trustOf, trustShown } from "./state.js";
import { steeredNodes } from "./steered.js";
import { stillStrip } from "./tokens.js";

const POLICY = "default-src 'none'; style-src 'unsafe-inline'";

export function fileName(run) {
  return `legible-${run.source.replace(/[^\w.-]+/g, "-").slice(0, 40)}-layer${run.layer}`;
}

function about(run) {
  const one = source(run.source);
  return Object.entries({
    checkpoint: run.source, target: one?.target, layer: run.layer, variance: one?.variance, language: one?.language,
    samples: run.sampling.samples, temperature: run.sampling.temperature ?? (run.sampling.samples > 1 ? 1 : 0), seed: run.sampling.seed,
    readings: `${run.readings.size} of ${run.tokens.length} tokens`,
  }).filter(([, value]) => value !== null && value !== undefined);
}

function sorted(run) {
  return [...run.readings.values()].sort((a, b) => a.pos - b.pos);
}

/** Everything, as the API gave it. */
export function asJson(run, steered) {
  const prompt = run.messages ? { messages: run.messages } : { text: run.text };
  const readings = sorted(run).map(({ type, ...reading }) => reading);
  return JSON.stringify({ kind: "legible_session", ...Object.fromEntries(about(run)), ...prompt, rendered: run.rendered, tokens: run.tokens,
    selected: [...state.selection].sort((a, b) => a - b), readings, ...(steered ? { steered } : {}) }, null, 1);
}

/** One file without script: the page's own style, the strip, a card a reading, the last steering. */
export async function asPage(run, steered) {
  const style = (await Promise.all(["style.css", "views.css"].map(async (name) => (await fetch(name)).text()))).join("\n");
  const page = document.implementation.createHTMLDocument("Legible");
  page.documentElement.lang = "en";
  const policy = el("meta", { "http-equiv": "Content-Security-Policy", content: POLICY });
  const view = el("meta", { name: "viewport", content: "width=device-width, initial-scale=1" });
  page.head.prepend(el("meta", { charset: "utf-8" }), policy, view);
  page.title = visible(`Legible: ${run.source}, layer ${run.layer}`);
  page.body.append(el("main", {},
    el("h1", {}, "What the model had in mind"),
    el("dl", {}, about(run).map(([name, value]) => [el("dt", {}, name), el("dd", {}, typeof value === "number" && !Number.isInteger(value) ? number(value, 4) : value)])),
    el("p", { class: "soft" }, "The darker a token, the more of its activation comes back from the words alone (FVE), beyond what words that say nothing of it would score there. A good score does not mean that the words are true: that is what p_true estimates, the line under each claim. Claims below one half are folded away."),
    stillStrip(run, (reading) => shareOf(reading, "fve")),
    el("h2", {}, "Readings"),
    el("div", { class: "cards" }, sorted(run).map((reading) => card(reading, { run, sift: false }))),
    steered ? [steeredNodes(steered, true)] : null));
  const whole = page.documentElement.outerHTML.replace("</head>", () => `<style>\n${style}</style></head>`); // this page's policy allows no style element
  return `<!doctype html>\n${whole}`;
}

/** Markdown: one section a reading. Model-written text is escaped, so that it formats nothing. */
export function asMarkdown(run, steered) {
  const lines = ["# What the model had in mind", ""];
  for (const [name, value] of about(run)) lines.push(`- ${name}: ${md(value)}`);
  lines.push("", "## Text", "", fenced(run.rendered ?? run.text), "", "## Readings", "");
  for (const reading of sorted(run)) lines.push(...section(reading));
  if (steered) lines.push(...steering(steered));
  return `${lines.join("\n")}\n`;
}

function section(reading) {
  const facts = [`FVE ${number(reading.fve_token)}`, `floor ${number(reading.floor_fve)}`, trustOf(reading) && `trust ${trustShown(reading)}`, md(notes(reading)), ...reading.flags.map((flag) => md(flag.replaceAll("_", " ")))];
  return [`### ${reading.pos} ${md(reading.token.trim() || reading.token)}`, "", md(reading.explanation === null ? "no explanation came out" : plain(reading.explanation, reading.claims)), "", facts.filter(Boolean).join(" · "), "",
    ...reading.claims.filter((claim) => !doubtful(claim.p_true)).map((claim) => `- ${md(claim.text)} (p_true ${probability(claim.p_true)}${claim.verdict ? `, ${md(claim.verdict)}` : ""})`),
    ...(reading.p_true_reason ? [`- no p_true: ${md(reading.p_true_reason)}`] : []), ""];
}

function steering(found) {
  const said = (one) => md(one.continuations.map(({ text }) => text).join(" / "));
  return ["## Steering", "", `At token ${found.pos}: ${md(found.explanation)} → ${md(found.edited)}`, "",
    "| strength | nats per token | continuation |", "|---|---|---|", `| untouched | ${number(found.untouched.nats)} | ${said(found.untouched)} |`,
    ...found.steered.map((one) => `| ${number(one.strength)}${one.strength === found.proposal?.strength ? " (proposed)" : ""} | ${number(one.nats)} | ${said(one)} |`),
    ...Object.entries(found.controls ?? {}).flatMap(([name, tries]) => tries.map((one) => `| ${number(one.strength)} (control: ${md(name)}) | ${number(one.nats)} | ${said(one)} |`)), ""];
}

/** Text that no Markdown reader takes for formatting, on one line. */
function md(value) {
  return visible(String(value)).replace(/[\\`*_{}[\]<>()#+!|~&-]/g, "\\$&");
}

/** Text as it is, in a fence longer than any in it. */
function fenced(text) {
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((run) => run.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}text\n${visible(text, "\n")}\n${fence}`;
}
