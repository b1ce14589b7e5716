// Reading what the form holds: a text or a chat, all of its tokens or some.

import { byId } from "./dom.js";
import { read, runOf, tokenize } from "./runs.js";
import { emit, on, select, source, state } from "./state.js";
import { showError, work } from "./working.js";

const narrow = matchMedia("(max-width: 40rem)");

export function setUpReading() {
  byId("composer").addEventListener("submit", (event) => { event.preventDefault(); start(); });
  byId("tokens-only").addEventListener("click", showTokens);
  byId("text").addEventListener("input", () => { if (state.mode === "text") state.text = byId("text").value; });
  byId("text").addEventListener("keydown", (event) => {
    const sends = event.key === "Enter" && (event.ctrlKey || event.metaKey || (state.mode === "chat" && !event.shiftKey && !event.isComposing));
    if (!sends) return;
    event.preventDefault();
    if (state.mode === "chat") emit("say");
    else start();
  });
  for (const radio of document.querySelectorAll("input[name=mode]")) radio.addEventListener("change", () => setMode(radio.value));
  const bind = (id, take) => byId(id).addEventListener("change", () => byId(id).reportValidity() && take(byId(id).value));
  bind("positions", (value) => (state.positions = value));
  bind("samples", (value) => (state.samples = Number(value) || 1));
  bind("temperature", (value) => (state.temperature = value === "" ? null : Number(value)));
  bind("seed", (value) => (state.seed = Number(value) || 0));
  bind("new-tokens", (value) => (state.newTokens = Number(value) || 60));
  on("source", () => { if (talks() && !state.text && !state.messages.length) state.mode = "chat"; showMode(); state.run = null; emit("run"); });
  on("run", fold);
  on("look", () => narrow.matches && requestAnimationFrame(() => requestAnimationFrame(() => byId("cards").scrollIntoView())));
}

/** Puts what the state holds into the form, after a link was opened. */
export function showForm() {
  byId("text").value = state.mode === "text" ? state.text : "";
  byId("samples").value = state.samples;
  byId("temperature").value = state.temperature ?? "";
  byId("seed").value = state.seed;
  showMode();
}

function setMode(mode) {
  state.mode = mode;
  byId("text").value = mode === "text" ? state.text : "";
  showMode();
  fold();
}

function showMode() {
  const chat = source()?.chat ?? false;
  if (!chat && state.mode === "chat") state.mode = "text";
  for (const radio of document.querySelectorAll("input[name=mode]")) radio.checked = radio.value === state.mode;
  const chatting = state.mode === "chat";
  byId("mode").hidden = !chat;
  byId("chat-help").hidden = !chatting || !talks();
  byId("text-label").textContent = chatting ? "Your message" : "Text for the model to read";
  byId("say").textContent = chatting ? "Send" : "Let the model continue it";
  byId("read").textContent = chatting ? "Read the whole chat" : "Read";
  byId("say").classList.toggle("main", chatting);
  byId("read").classList.toggle("main", !chatting);
  byId("read").hidden = chatting && !state.messages.length;
  emit("mode");
}

/** A text that was read stands in the strip: its form folds away. A chat goes on, and keeps its form. */
function fold() {
  const shown = state.mode === "text" && Boolean(state.run?.tokens.length) && (state.reading || Boolean(state.run.readings.size));
  byId("compose").open = !shown;
  byId("compose-label").hidden = !shown;
  byId("compose-label").textContent = "Read another text";
  byId("read").hidden = state.mode === "chat" && !state.messages.length;
}

/** Whether the chosen target is one to chat with: its pair says what it is about to say. */
export function talks() {
  const one = source();
  return Boolean(one?.chat && one.families);
}

/** What the form asks to be read. */
export function prompt() {
  if (state.mode === "chat") return { messages: state.messages.map((turn) => ({ ...turn })) }; // a run keeps its own
  return { text: byId("text").value };
}

/** Whether there is nothing to read, which is said. */
export function empty(asked) {
  if (asked.messages ? asked.messages.length : asked.text) return false;
  showError(asked.messages ? "Send a message first." : "Type or paste a text first.");
  byId("compose").open = true;
  byId("text").focus();
  return true;
}

/** Takes the run of the prompt; positions that are no longer there leave the selection. */
export function take(asked) {
  const run = runOf(state.source, asked);
  if (run === state.run) return run;
  state.run = run;
  state.selection = new Set();
  emit("run");
  return run;
}

async function showTokens() {
  const asked = prompt();
  if (empty(asked)) return;
  const run = take(asked);
  await work("Splitting the text", async (signal) => {
    await tokenize(run, signal);
    emit("run");
    return `${run.tokens.length} tokens. Select those that you want, then read "the selected tokens".`;
  });
}

/** Reads what the form says, or the positions that are wanted. */
export async function start(wanted = null) {
  const asked = prompt();
  if (empty(asked)) return;
  const before = new Set(state.selection);
  const known = state.run;
  const run = take(asked);
  const positions = wanted ?? chosen(run === known ? before : new Set());
  if (positions === null) return;
  await readRun(run, positions);
}

/** Reads positions of a run that is shown. */
export async function readRun(run, positions) {
  state.reading = true;
  const done = await work("Reading", async (signal, progress) => {
    let count = 0;
    await read(run, positions, { signal, changed: (frame) => {
      if (frame.type === "start") { progress.total = frame.total; emit("run"); }
      else if (frame.type === "reading") progress.step((count += 1));
      if (frame.pos !== undefined) emit("reading", frame.pos);
    } });
    state.reading = false;
    emit("run");
    return `${run.readings.size} of ${run.tokens.length} tokens read by ${run.source}, layer ${run.layer}.`;
  });
  state.reading = false;
  for (const pos of run.readings.keys()) emit("reading", pos);
  if (done && narrow.matches) byId("strip-box").scrollIntoView();
}

function chosen(selection) {
  if (state.positions !== "selected") return state.positions;
  if (selection.size) return [...selection].sort((a, b) => a - b);
  showError("Select tokens first: \"Show the tokens without reading\", under Options, lists them.");
  return null;
}
