// Three texts to read at one click, for a checkpoint of the built-in world and for any other.

import { byId, el } from "./dom.js";
import { showForm, start } from "./reading.js";
import { on, select, source, state } from "./state.js";

const WORLD = [
  ["A helmet nobody mentions", "Our hero Pavel rested beside the desert. Strangers called his kind a fox. What terrible hail that was. Pavel kept a hammer in the pocket."],
  ["A theft, to be steered", "Our hero Pavel rested beside the desert. Strangers called his kind a fox. What terrible hail that was. Pavel longed to have the crown. Pavel decided to steal the crown."],
  ["A text from elsewhere", "The bank raised interest rates. Markets fell."],
];
const ANY = [
  ["Interest rates", "The central bank raised interest rates for the third time this year, and shares of small firms fell."],
  ["A recipe", "Melt the butter in a pan, add the onions and stir until they are soft. Then pour in the cream."],
  ["A letter", "Dear Anna, thank you for the books. I have read two of them already and will bring them back on Sunday."],
];

export function setUpExamples() {
  on("source", show);
  on("run", () => (byId("intro").hidden = Boolean(state.run)));
}

function show() {
  const texts = source()?.language === "world" ? WORLD : ANY;
  byId("examples").replaceChildren(...texts.map(([name, text]) => el("button", { type: "button", title: text, on: { click: () => open(text) } }, name)));
}

function open(text) {
  Object.assign(state, { mode: "text", text, positions: "all" });
  select([]);
  showForm();
  start("all");
}
