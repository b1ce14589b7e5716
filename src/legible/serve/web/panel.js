// The readings beside the text: the chosen token's, else the richest one; or all of them in a list.

import { card, draftCard, lookNow, unreadCard } from "./cards.js";
import { arrange, byId, el } from "./dom.js";
import { readRun } from "./reading.js";
import { claimPasses, filtering, passes } from "./search.js";
import { emit, inView, on, select, state } from "./state.js";

const PAGE = 120; // cards drawn at once
const SWIPE = 45; // pixels
let most = PAGE;
let drawn = new Map(); // position -> { of, look, node }
let pending = false;
let began = null; // where a finger came down

export function setUpPanel() {
  byId("more").addEventListener("click", () => { most += PAGE; draw(); });
  byId("listing").addEventListener("click", list);
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  const cards = byId("cards");
  cards.addEventListener("pointerdown", (event) => { began = event.pointerType === "touch" ? [event.clientX, event.clientY] : null; });
  cards.addEventListener("pointerup", swiped);
  cards.addEventListener("pointercancel", () => (began = null));
  on("run", () => { drawn = new Map(); most = PAGE; draw(); });
  for (const topic of ["reading", "filter", "selection", "tint"]) on(topic, later);
}

function later() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => { pending = false; draw(); });
}

/** Whether the readings are listed one under the other. */
const listed = () => !state.selection.size && (state.listing || filtering());

function list() {
  state.listing = !listed();
  if (state.selection.size) select([]);
  if (!state.listing) {
    Object.assign(state.filter, { words: "", kind: "", verdict: "", trust: 0, unflagged: false });
    emit("filter-reset");
  }
  draw();
  byId(listed() ? "filter" : "walk").scrollIntoView(); // the readings begin here, however long they are
}

/** To the reading before or after the one in view. */
function step(by) {
  const { run } = state;
  const [here] = inView(run);
  const known = [...(run?.readings.keys() ?? [])].sort((a, b) => a - b);
  const next = by > 0 ? known.find((pos) => pos > here) : known.findLast((pos) => pos < here);
  if (next !== undefined) select([next]);
}

function swiped(event) {
  if (!began || listed()) return;
  const [across, down] = [event.clientX - began[0], event.clientY - began[1]];
  began = null;
  if (Math.abs(across) > SWIPE && Math.abs(across) > 2 * Math.abs(down)) step(across < 0 ? 1 : -1);
}

/** The positions that have a card. */
function positionsOf(run) {
  if (!listed()) return inView(run);
  return [...new Set([...run.readings.keys(), ...run.drafts.keys()])].sort((a, b) => a - b)
    .filter((pos) => !run.readings.has(pos) || passes(run.readings.get(pos)));
}

function draw() {
  const { run } = state;
  const positions = run ? positionsOf(run) : [];
  const n = run?.readings.size ?? 0;
  byId("filter").hidden = !n || !listed();
  arrange(byId("cards"), positions.length || !n ? positions.slice(0, most).map((pos) => kept(run, pos)) : [el("p", { class: "soft" }, "No reading passes the search.")]);
  byId("more").hidden = positions.length <= most;
  byId("more").textContent = `Show more (${positions.length - most} left)`;
  byId("listing").hidden = n < 2;
  byId("listing").textContent = listed() ? "Show one reading at a time" : `List all ${n} readings`;
  byId("trust-key").hidden = ![...run?.readings.values() ?? []].some((reading) => reading.trust);
  showPlace(run, positions, n);
  const claims = filtering() ? positions.flatMap((pos) => run.readings.get(pos)?.claims ?? []).filter((claim) => claimPasses(claim)).length : 0;
  byId("matches").textContent = filtering() ? `${claims} claim${claims === 1 ? "" : "s"} at ${positions.length} token${positions.length === 1 ? "" : "s"}` : "";
}

/** Which of the readings is in view, and why that one. */
function showPlace(run, positions, n) {
  byId("walk").hidden = n < 2 || listed() || positions.length !== 1;
  if (byId("walk").hidden) return;
  const known = [...run.readings.keys()].sort((a, b) => a - b);
  byId("previous").disabled = !(positions[0] > known[0]);
  byId("next").disabled = !(positions[0] < known.at(-1));
  byId("place").textContent = state.selection.size ? "" : `The richest of ${n} readings. Choose any word of the text for another.`;
}

/** The card of a position, the old one while nothing about it changed. */
function kept(run, pos) {
  const of = run.readings.get(pos) ?? run.drafts.get(pos);
  const look = lookNow();
  const old = drawn.get(pos);
  if (old && old.of === of && old.look === look) return old.node;
  const token = run.tokens[pos]?.token ?? "";
  const node = run.readings.has(pos) ? card(of, { run, actions: [steerButton(pos)] })
    : run.drafts.has(pos) ? draftCard(run, pos, token, of) : unreadCard(run, pos, token, () => readRun(run, inView(run)));
  drawn.set(pos, { of, look, node });
  return node;
}

function steerButton(pos) {
  return el("button", { type: "button", class: "quiet", "aria-label": `Steer at token ${pos}`, on: { click: () => emit("steer-at", pos) } }, "Steer");
}
