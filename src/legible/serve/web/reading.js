// The reader: a text or a chat, its tokens, and the readings as they stream in.

import { stream } from "./api.js";
import { card, draftCard, lookNow, unreadCard } from "./cards.js";
import { arrange, byId, el } from "./dom.js";
import { read, runOf, tokenize } from "./runs.js";
import { claimPasses, filtering, passes } from "./search.js";
import { emit, fullest, on, select, source, state } from "./state.js";
import { showError, work } from "./working.js";

const PAGE = 120; // cards drawn at once
let most = PAGE;
let drawn = new Map(); // position -> { of, look, node }
let pending = false;
let reading = false; // while readings stream in, none is moved to the top
const narrow = matchMedia("(max-width: 40rem)");

export function setUpReading() {
  byId("composer").addEventListener("submit", (event) => { event.preventDefault(); start(); });
  byId("tokens-only").addEventListener("click", showTokens);
  byId("say").addEventListener("click", say);
  byId("more").addEventListener("click", () => { most += PAGE; draw(); });
  byId("text").addEventListener("input", () => { if (state.mode === "text") state.text = byId("text").value; });
  byId("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); state.mode === "chat" ? say() : start(); }
  });
  for (const radio of document.querySelectorAll("input[name=mode]")) radio.addEventListener("change", () => setMode(radio.value));
  const bind = (id, take) => byId(id).addEventListener("change", () => byId(id).reportValidity() && take(byId(id).value));
  bind("positions", (value) => (state.positions = value));
  bind("samples", (value) => (state.samples = Number(value) || 1));
  bind("temperature", (value) => (state.temperature = value === "" ? null : Number(value)));
  bind("seed", (value) => (state.seed = Number(value) || 0));
  bind("new-tokens", (value) => (state.newTokens = Number(value) || 40));
  on("source", () => { if (talks() && !state.text && !state.messages.length) state.mode = "chat"; showMode(); state.run = null; emit("run"); });
  on("run", () => { drawn = new Map(); most = PAGE; draw(); });
  on("look", () => state.mode === "chat" && talks() && readClicked());
  on("look", () => narrow.matches && requestAnimationFrame(() => requestAnimationFrame(() => byId("cards").scrollIntoView())));
  for (const topic of ["reading", "filter", "selection", "tint"]) on(topic, later);
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
  if (mode === "text") byId("text").value = state.text;
  else byId("text").value = "";
  showMode();
}

function showMode() {
  const chat = source()?.chat ?? false;
  if (!chat && state.mode === "chat") state.mode = "text";
  for (const radio of document.querySelectorAll("input[name=mode]")) {
    radio.checked = radio.value === state.mode;
    radio.disabled = radio.value === "chat" && !chat;
  }
  const chatting = state.mode === "chat";
  byId("no-chat").hidden = chat;
  byId("chat-help").hidden = !chatting || !talks();
  byId("turns").hidden = !chatting;
  byId("text-label").textContent = chatting ? "Your message" : "Text";
  byId("say").textContent = chatting ? "Send" : "Continue";
  byId("read").textContent = chatting ? "Read the chat" : "Read";
  byId("say").classList.toggle("main", chatting && talks());
  byId("read").classList.toggle("main", !(chatting && talks()));
  showTurns();
}

/** Whether the chosen target is one to chat with: its pair says what it is about to say. */
function talks() {
  const one = source();
  return Boolean(one?.chat && one.families);
}

function showTurns() {
  arrange(byId("turns"), state.messages.map(({ role, content }) => el("li", { class: role }, el("b", {}, role), " ", content)));
}

function prompt() {
  if (state.mode === "chat") return { messages: state.messages.map((turn) => ({ ...turn })) }; // a run keeps its own
  return { text: byId("text").value };
}

function empty(asked) {
  if (asked.messages ? asked.messages.length : asked.text) return false;
  showError(asked.messages ? "Send a message first." : "Type or paste a text first.");
  byId("text").focus();
  return true;
}

/** Takes the run of the prompt; positions that are no longer there leave the selection. */
function take(asked) {
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
    return `${run.tokens.length} tokens. Select some, then read "selected".`;
  });
}

/** Reads what the form says. */
export async function start(wanted = null) {
  const asked = prompt();
  if (empty(asked)) return;
  const before = new Set(state.selection);
  const known = state.run;
  const run = take(asked);
  const positions = wanted ?? chosen(run === known ? before : new Set());
  if (positions === null) return;
  reading = true;
  const done = await work("Reading", async (signal, progress) => {
    let done = 0;
    await read(run, positions, { signal, changed: (frame) => {
      if (frame.type === "start") { progress.total = frame.total; emit("run"); }
      else if (frame.type === "reading") progress.step((done += 1));
      if (frame.pos !== undefined) emit("reading", frame.pos);
    } });
    emit("run");
    return `${run.readings.size} of ${run.tokens.length} tokens read by ${run.source}, layer ${run.layer}.`;
  });
  reading = false;
  for (const pos of run.readings.keys()) emit("reading", pos);
  if (done && narrow.matches) byId("strip-box").scrollIntoView();
}

function chosen(selection) {
  if (state.positions !== "selected") return state.positions;
  if (selection.size) return [...selection].sort((a, b) => a - b);
  showError("Select tokens first: \"Tokens only\" shows them.");
  return null;
}

/** In a chat with a pair a click reads a token that was not read yet. */
function readClicked() {
  const { run, selection } = state;
  const [pos] = selection;
  if (run?.messages && selection.size === 1 && !run.readings.has(pos) && !reading) start([pos]);
}

/** The token behind which the last reply begins: the template's, just before its first word. */
export function replyStart(tokens) {
  let first = tokens.findLastIndex((token) => !token.template);
  while (first > 0 && !tokens[first - 1].template) first -= 1;
  return first > 0 ? first - 1 : null;
}

/** At which temperature the target writes: as asked, else its likeliest words where they are compared with what it was about to say. */
function heat() {
  if (state.temperature !== null) return { temperature: state.temperature };
  return talks() ? { temperature: 0 } : {};
}

/** The target's own words: the reply to a message, or the text's continuation. */
async function say() {
  const chatting = state.mode === "chat";
  const box = byId("text");
  const before = box.value;
  if (!before.trim()) return void empty({ text: "" });
  if (chatting) state.messages.push({ role: "user", content: before });
  const asked = chatting ? { messages: state.messages } : { text: before };
  if (chatting) box.value = "";
  let said = "";
  const show = () => {
    if (chatting) showTurns();
    else box.value = before + said;
  };
  const settings = { max_tokens: state.newTokens, seed: state.seed, ...heat() };
  const body = { source: state.source, ...asked, ...settings };
  if (chatting) body.messages = [...state.messages];
  const reply = { role: "assistant", content: "" };
  const done = await work("The target is writing", async (signal) => {
    if (chatting) state.messages.push(reply);
    show();
    try {
      await stream("/api/v1/complete", body, (frame) => {
        if (frame.type === "token") reply.content = said += frame.token;
        if (frame.type === "end") reply.content = said = frame.completion;
        show();
      }, signal);
    } finally {
      if (chatting && !reply.content) state.messages.pop();
      if (!chatting) state.text = box.value;
      show();
    }
    if (!chatting || !talks()) return "The target has written. Read shows what it was thinking.";
    const run = take(prompt());
    await tokenize(run, signal);
    emit("run");
    return "The target has answered. Click a token to read it.";
  });
  if (!done || !chatting || !talks()) return;
  const pos = replyStart(state.run.tokens);
  if (pos === null) return;
  select([pos]);
  await start([pos]); // what it held when it began to answer
}

function later() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => { pending = false; draw(); });
}

/** The positions that have a card: those selected, else all that were read or are being written, the fullest first. */
function listed(run) {
  const found = state.selection.size ? [...state.selection] : [...run.readings.keys(), ...run.drafts.keys()];
  const first = topmost(run);
  return [...new Set(found)].sort((a, b) => (b === first) - (a === first) || a - b)
    .filter((pos) => !run.readings.has(pos) || passes(run.readings.get(pos)));
}

/** The position whose card stands before all others: the fullest reading's, where nothing was selected or searched. */
function topmost(run) {
  return reading || state.selection.size || filtering() || run.readings.size < 2 ? null : fullest(run.readings.values()).pos;
}

function draw() {
  const { run } = state;
  const positions = run ? listed(run) : [];
  byId("filter").hidden = !run?.readings.size;
  arrange(byId("cards"), positions.length || !run?.readings.size ? positions.slice(0, most).map((pos) => kept(run, pos, topmost(run) === pos)) : [nothing()]);
  byId("more").hidden = positions.length <= most;
  byId("more").textContent = `Show more (${positions.length - most} left)`;
  count(run, positions);
}

function count(run, positions) {
  const claims = filtering() ? positions.flatMap((pos) => run.readings.get(pos)?.claims ?? []).filter((claim) => claimPasses(claim)).length : 0;
  byId("found").textContent = filtering() ? `${claims} claim${claims === 1 ? "" : "s"} at ${positions.length} token${positions.length === 1 ? "" : "s"}` : "";
}

function nothing() {
  return el("p", { class: "soft" }, "No reading passes the search.");
}

/** The card of a position, the old one while nothing about it changed. */
function kept(run, pos, first) {
  const of = run.readings.get(pos) ?? run.drafts.get(pos);
  const look = `${first} ${lookNow()}`;
  const old = drawn.get(pos);
  if (old && old.of === of && old.look === look) return old.node;
  const token = run.tokens[pos]?.token ?? "";
  const node = run.readings.has(pos) ? card(of, { actions: [first && el("span", { class: "soft small" }, "says most"), steerButton(pos)] })
    : run.drafts.has(pos) ? draftCard(pos, token, of) : unreadCard(pos, token);
  drawn.set(pos, { of, look, node });
  return node;
}

function steerButton(pos) {
  return el("button", { type: "button", class: "quiet", "aria-label": `Steer at token ${pos}`, on: { click: () => emit("steer-at", pos) } }, "Steer");
}
