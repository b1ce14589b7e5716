// What the page knows, and what a link holds of it. No drawing here.

import { number, probability } from "./dom.js";
import { aboveFloor, DOUBTFUL, littleToSay } from "./doubt.js";

export const state = {
  sources: [],
  source: "",
  view: "read",
  mode: "text",
  text: "",
  messages: [],
  positions: "all",
  samples: 1,
  temperature: null,
  seed: 0,
  newTokens: 60,
  tint: "fve",
  run: null,
  reading: false, // readings are streaming in
  listing: false, // all readings are listed
  selection: new Set(),
  filter: { words: "", kind: "", verdict: "", trust: 0, unflagged: false },
  steered: null,
};

export const VIEWS = ["read", "matrix", "compare", "steer", "evaluate", "share"];
const listeners = new Map();

/** Calls `listener` whenever `topic` changes: source, run, reading, selection, filter, view. */
export function on(topic, listener) {
  listeners.set(topic, [...(listeners.get(topic) ?? []), listener]);
}

export function emit(topic, detail) {
  for (const listener of listeners.get(topic) ?? []) listener(detail);
}

/** The loaded checkpoint of an id; absent: the chosen one. */
export function source(id = state.source) {
  return state.sources.find((one) => one.id === id);
}

export function select(positions) {
  state.selection = new Set(positions);
  emit("selection");
}

/** Mean and lowest p_true of a reading's claims, { mean, min }; null where none has one. */
export function trustOf(reading) {
  return reading?.trust ?? null;
}

/** The richest reading: most kinds of claims to be expected true, half where there is little to say; tokens with a warning come last. */
export function fullest(readings) {
  const standing = ({ claims }) => [...new Map(claims.filter((claim) => claim.p_true >= DOUBTFUL).map((claim) => [claim.relation ?? claim.text, claim.p_true])).values()];
  const weight = (reading) =>
    [reading.flags.length ? 0 : 1, standing(reading).reduce((sum, p) => sum + p, 0) / (littleToSay(reading) ? 2 : 1), reading.claims.length, reading.explanation?.length ?? 0];
  const more = (a, b) => { const at = a.findIndex((value, index) => value !== b[index]); return at >= 0 && a[at] > b[at]; };
  return [...readings].reduce((best, one) => (best && !more(weight(one), weight(best)) ? best : one), null);
}

/** The positions in view: those selected, else the richest reading's, else the first that is being written. */
export function inView(run = state.run) {
  if (state.selection.size) return [...state.selection].sort((a, b) => a - b);
  const pos = run && (fullest(run.readings.values())?.pos ?? run.drafts.keys().next().value);
  return typeof pos === "number" ? [pos] : [];
}

/** What the strip is tinted by: the mean trust, or the score from its floor on. */
export function shareOf(reading, tint = state.tint) {
  return tint === "trust" ? trustOf(reading)?.mean ?? null : aboveFloor(reading?.fve_token, reading?.floor_fve);
}

/** Mean and lowest trust as they are shown. */
export function trustShown(reading) {
  const trust = trustOf(reading);
  return trust ? `${probability(trust.mean)}/${probability(trust.min)}` : "–";
}

/** What the strip is tinted by, in digits. */
export function scoreShown(reading) {
  return state.tint === "trust" ? trustShown(reading) : number(reading?.fve_token);
}

/** Positions as `3,5-7`. */
export function packed(positions) {
  const sorted = [...positions].sort((a, b) => a - b);
  const parts = [];
  for (let first = 0, last = 0; first < sorted.length; first = last += 1) {
    while (sorted[last + 1] === sorted[last] + 1) last += 1;
    parts.push(first === last ? `${sorted[first]}` : `${sorted[first]}-${sorted[last]}`);
  }
  return parts.join(",");
}

/** The positions of `3,5-7`; what is no position is left out. */
export function unpacked(words, most = 20000) {
  const found = [];
  for (const part of words.split(",")) {
    const match = /^(\d{1,6})(?:-(\d{1,6}))?$/.exec(part.trim());
    if (!match) continue;
    const last = Math.min(Number(match[2] ?? match[1]), most);
    for (let pos = Number(match[1]); pos <= last; pos += 1) found.push(pos);
  }
  return found;
}

/** What a link holds: the prompt, how it is read, which positions, what is selected; never the token. */
export function toLink() {
  const read = state.run;
  const link = new URLSearchParams({ view: state.view, source: state.source });
  if (read?.messages) link.set("chat", JSON.stringify(read.messages));
  else if (read?.text ?? state.text) link.set("text", read?.text ?? state.text);
  if (read?.readings.size) link.set("read", read.readings.size === read.tokens.length ? "all" : packed(read.readings.keys()));
  if (state.selection.size) link.set("selected", packed(state.selection));
  const { samples, temperature, seed } = read?.sampling ?? state; // of the readings, whatever the form says by now
  if (samples !== 1) link.set("samples", samples);
  if (temperature !== null && temperature !== undefined) link.set("temperature", temperature);
  if (seed) link.set("seed", seed);
  if (state.tint !== "fve") link.set("tint", state.tint);
  if (state.listing) link.set("listing", "all");
  for (const [key, value] of Object.entries(state.filter)) if (value) link.set(key, value);
  return `#${link}`;
}

/** What a reload takes up: the link, with what stands in the form where that was not read yet. */
export function toSession(text) {
  const link = new URLSearchParams(toLink().slice(1));
  const [name, asked] = state.mode === "chat" ? ["chat", JSON.stringify(state.messages)] : ["text", text];
  if (link.get(name) !== asked) {
    for (const key of ["text", "chat", "read", "selected"]) link.delete(key);
    link.set(name, asked);
  }
  return `#${link}`;
}

/** Takes what a link holds into the state; returns what is to be read, null for nothing. */
export function fromLink(fragment) {
  const link = new URLSearchParams(fragment.replace(/^#/, ""));
  const within = (name, low, high, otherwise) => {
    const value = Number(link.get(name) ?? NaN);
    return Number.isFinite(value) && value >= low && value <= high ? value : otherwise;
  };
  if (VIEWS.includes(link.get("view"))) state.view = link.get("view");
  if (source(link.get("source"))) state.source = link.get("source");
  state.samples = Math.round(within("samples", 1, 16, state.samples));
  state.temperature = within("temperature", 0, 2, state.temperature);
  state.seed = Math.round(within("seed", 0, 2 ** 32 - 1, state.seed));
  if (link.get("tint") === "trust") state.tint = "trust";
  state.listing = link.has("listing");
  const filter = { words: link.get("words") ?? "", kind: link.get("kind") ?? "", verdict: link.get("verdict") ?? "" };
  Object.assign(state.filter, filter, { trust: within("trust", 0, 1, 0), unflagged: link.has("unflagged") });
  if (!link.has("text") && !link.has("chat")) return null;
  state.text = (link.get("text") ?? "").slice(0, 20000);
  state.messages = messagesOf(link.get("chat"));
  state.mode = state.messages.length ? "chat" : "text";
  return { read: link.get("read") ?? "", selected: unpacked(link.get("selected") ?? "") };
}

function messagesOf(words) {
  try {
    const found = JSON.parse(words ?? "[]");
    const good = (one) => ["system", "user", "assistant"].includes(one?.role) && typeof one.content === "string";
    return Array.isArray(found) && found.every(good) ? found.map(({ role, content }) => ({ role, content })) : [];
  } catch {
    return [];
  }
}
