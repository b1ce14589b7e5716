// The target's own words: its reply to a message, which is read as it was begun, or the continuation of a text.

import { stream } from "./api.js";
import { arrange, byId, el } from "./dom.js";
import { empty, prompt, readRun, showForm, take, talks } from "./reading.js";
import { tokenize } from "./runs.js";
import { emit, on, select, state } from "./state.js";
import { work } from "./working.js";

let cut = false; // the last reply ended at the limit, and is unfinished

export function setUpChat() {
  byId("say").addEventListener("click", say);
  on("say", say);
  for (const topic of ["mode", "run"]) on(topic, showTurns);
  on("look", () => state.mode === "chat" && talks() && readClicked());
}

/** Sends a message, as if it were typed. */
export function ask(message) {
  Object.assign(state, { mode: "chat", messages: [] });
  showForm();
  byId("text").value = message;
  return say();
}

/** The turns, until the strip shows the same chat with its tokens. */
function showTurns() {
  const inStrip = Boolean(state.run?.tokens.length) && JSON.stringify(state.run.messages) === JSON.stringify(state.messages);
  byId("cut").hidden = !(cut && state.mode === "chat" && state.messages.length);
  byId("cut").textContent = `The reply was cut off after ${state.newTokens} tokens; Options has the limit.`;
  byId("turns").hidden = state.mode !== "chat" || inStrip;
  arrange(byId("turns"), state.messages.map(({ role, content }) => el("li", { class: role }, el("b", {}, role), " ", content)));
}

/** In a chat with a pair a click reads a token that was not read yet. */
function readClicked() {
  const { run, selection } = state;
  const [pos] = selection;
  if (run?.messages && selection.size === 1 && !run.readings.has(pos) && !state.reading) readRun(run, [pos]);
}

/** The positions of the last reply, from the template's token just before its first word on; none without a reply. */
export function replyOf(tokens) {
  const last = tokens.findLastIndex((token) => !token.template);
  let first = last;
  while (first > 0 && !tokens[first - 1].template) first -= 1;
  return first > 0 ? Array.from({ length: last - first + 2 }, (_, step) => first - 1 + step) : [];
}

/** The temperature of the target's words: as asked, else 0 where they are compared with what it was about to say. */
function temperature() {
  if (state.temperature !== null) return { temperature: state.temperature };
  return talks() ? { temperature: 0 } : {};
}

async function say() {
  const chatting = state.mode === "chat";
  const before = byId("text").value;
  if (!before.trim()) return void empty({ text: "" });
  const done = await work("The model is writing", (signal) => (chatting ? answer(before, signal) : goOn(before, signal)));
  if (!done || !chatting || !talks()) return;
  const reply = replyOf(state.run.tokens);
  if (!reply.length) return;
  await readRun(state.run, reply);
}

/** Streams what the target says after a prompt; `show` gets all of it so far. */
async function written(asked, show, signal) {
  const settings = { max_tokens: state.newTokens, seed: state.seed, ...temperature() };
  let said = "";
  await stream("/api/v1/complete", { source: state.source, ...asked, ...settings }, (frame) => {
    if (frame.type === "token") said += frame.token;
    if (frame.type === "end") { said = frame.completion; cut = frame.stopped === false; }
    show(said);
  }, signal);
}

async function goOn(text, signal) {
  const box = byId("text");
  try {
    await written({ text }, (said) => (box.value = text + said), signal);
  } finally {
    state.text = box.value;
  }
  return "The model has written on. Read shows what it had in mind.";
}

async function answer(message, signal) {
  state.messages.push({ role: "user", content: message });
  byId("text").value = "";
  const asked = [...state.messages];
  cut = false;
  const reply = { role: "assistant", content: "" };
  state.run = null;
  select([]);
  emit("run");
  state.messages.push(reply);
  showTurns();
  try {
    await written({ messages: asked }, (said) => { reply.content = said; showTurns(); }, signal);
  } finally {
    if (!reply.content) state.messages.pop();
    showTurns();
  }
  const run = take(prompt());
  if (!talks()) return "The model has answered. \"Read the whole chat\" shows what it had in mind.";
  await tokenize(run, signal);
  emit("run");
  return "The model has answered.";
}
