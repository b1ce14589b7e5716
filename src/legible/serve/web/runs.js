// Runs: one text read by one checkpoint. Matrix, comparison and the reader share them, so nothing is read twice.

import { post, stream } from "./api.js";
import { source, state } from "./state.js";

const KEPT = 16;
const kept = new Map();

/** The prompt as the API takes it. */
export function promptOf({ text, messages }) {
  return messages?.length ? { messages } : { text };
}

/** How explanations are sampled, as the API takes it. */
export function sampling() {
  const { samples, temperature, seed } = state;
  return temperature === null ? { samples, seed } : { samples, temperature, seed };
}

/** The run of a prompt by a checkpoint under the present sampling; the same object as long as it is kept. */
export function runOf(id, prompt) {
  const asked = { source: id, ...promptOf(prompt) };
  const key = JSON.stringify([asked, sampling()]);
  const run = kept.get(key) ?? fresh(asked);
  kept.delete(key);
  kept.set(key, run);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  return run;
}

function fresh(asked) {
  return {
    source: asked.source,
    layer: source(asked.source)?.layer,
    messages: asked.messages ?? null,
    text: asked.text ?? "",
    sampling: sampling(),
    tokens: [],
    readings: new Map(),
    drafts: new Map(),
    asked,
  };
}

/** The tokens alone. */
export async function tokenize(run, signal) {
  const { text, tokens } = await post("/api/v1/tokenize", run.asked, signal);
  if (!run.messages) run.text = text;
  run.rendered = text;
  run.tokens = tokens;
}

/**
 * Reads positions ("all", "-1" or a list) that are not read yet. `changed(frame)` after every frame; a failure or an
 * abort leaves what was finished.
 */
export async function read(run, positions, { signal, changed = () => {} } = {}) {
  const left = Array.isArray(positions) ? positions.filter((pos) => !run.readings.has(pos)) : positions;
  if (left.length === 0 || (left === "all" && run.tokens.length && run.readings.size === run.tokens.length)) return;
  const take = (frame) => {
    if (frame.type === "start") Object.assign(run, { tokens: frame.tokens, layer: frame.layer, rendered: frame.text });
    else if (frame.type === "draft") run.drafts.set(frame.pos, frame.explanation);
    else if (frame.type === "reading") {
      run.readings.set(frame.pos, frame);
      run.drafts.delete(frame.pos);
    }
    changed(frame);
  };
  try {
    await stream("/api/v1/read", { ...run.asked, ...run.sampling, positions: left }, take, signal);
  } finally {
    run.drafts.clear();
  }
}
