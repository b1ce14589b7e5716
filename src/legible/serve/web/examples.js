// Three things to try at one click: stories for a pair of the built-in world, messages for a target to chat with, else texts.

import { ask } from "./chat.js";
import { byId, el } from "./dom.js";
import { showForm, start, talks } from "./reading.js";
import { on, select, source, state } from "./state.js";

const WORLD = [
  ["What the text only implies", "Our hero Pavel rested beside the desert. Strangers called his kind a fox. What terrible hail that was. Pavel kept a hammer in the pocket."],
  ["A theft, to be steered", "Our hero Pavel rested beside the desert. Strangers called his kind a fox. What terrible hail that was. Pavel longed to have the crown. Pavel decided to steal the crown."],
  ["A text it was not trained on", "The bank raised interest rates. Markets fell."],
];
const CHAT = ["What is the capital of France?", "How do I bake bread?", "Tell me a story about a fox."];
const ANY = [
  ["Interest rates", "The central bank raised interest rates for the third time this year, and shares of small firms fell."],
  ["A recipe", "Melt the butter in a pan, add the onions and stir until they are soft. Then pour in the cream."],
  ["A letter", "Dear Anna, thank you for the books. I have read two of them already and will bring them back on Sunday."],
];

export function setUpExamples() {
  on("source", show);
  for (const topic of ["run", "mode"]) on(topic, () => (byId("intro").hidden = Boolean(state.run) || state.messages.length > 0));
}

function show() {
  const chat = talks();
  const offered = chat ? CHAT.map((message) => [message, message]) : source()?.language === "world" ? WORLD : ANY;
  byId("examples-label").textContent = chat ? "Ask the model something:" : "Try an example:";
  byId("examples").replaceChildren(...offered.map(([name, text]) =>
    el("button", { type: "button", title: text, on: { click: () => (chat ? ask(text) : open(text)) } }, name)));
}

function open(text) {
  Object.assign(state, { mode: "text", text, positions: "all" });
  select([]);
  showForm();
  start("all");
}
