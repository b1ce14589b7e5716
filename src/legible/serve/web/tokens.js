// The strip of tokens: tinted by score or trust, selected by mouse, touch or keyboard.

import { arrange, byId, el, number, tint, visible } from "./dom.js";
import { littleToSay } from "./doubt.js";
import { emit, inView, on, scoreShown, select, shareOf, state, trustOf, trustShown } from "./state.js";
import { passes } from "./search.js";

let cursor = 0;
let anchor = 0;
let dragging = false;
let touched = false; // the last pointer was a finger: it selects when it taps, not when it scrolls
let options = [];

export function setUpStrip() {
  const strip = byId("strip");
  strip.addEventListener("keydown", pressed);
  strip.addEventListener("pointerdown", down);
  strip.addEventListener("pointermove", moved);
  strip.addEventListener("click", tapped);
  for (const event of ["pointerup", "pointercancel"]) window.addEventListener(event, () => (dragging = false));
  byId("clear").addEventListener("click", () => { select([]); options[cursor]?.focus(); });
  for (const radio of document.querySelectorAll("input[name=tint]")) {
    radio.addEventListener("change", () => { state.tint = radio.value; paint(); emit("tint"); });
  }
  byId("legend").append("little ", ...[0, 2, 4, 6, 8, 10].map((step) => el("span", { class: `t${step}` })), " much");
  on("run", () => { build(); uncover(); });
  on("reading", (pos) => { paintOne(pos); mark(); });
  on("selection", () => { mark(); uncover(); });
  on("filter", paint);
}

function build() {
  const { run } = state;
  byId("strip-box").hidden = !run?.tokens.length;
  if (!run) return;
  cursor = anchor = Math.min(cursor, Math.max(0, run.tokens.length - 1));
  const labels = labelsOf(run.tokens);
  options = run.tokens.map((token, index) =>
    el("span", { role: "option", id: `token-${token.pos}`, "data-pos": index, tabindex: index === cursor ? 0 : -1 }, labels[index]));
  byId("strip").replaceChildren(...options);
  for (const radio of document.querySelectorAll("input[name=tint]")) radio.checked = radio.value === state.tint;
  paint();
  mark();
}

/** What the strip shows of each token: its text, spaces included; tokens that share a place (bytes) share its letters. */
export function labelsOf(tokens) {
  const same = (a, b) => a && b && a.end > a.start && a.start === b.start && a.end === b.end;
  let first = 0;
  return tokens.map((token, pos) => {
    if (!same(tokens[pos - 1], token)) first = pos;
    let last = pos;
    while (same(tokens[last + 1], token)) last += 1;
    const letters = [...token.token];
    if (first === last) return token.token === "" ? "∅" : token.token.replaceAll("\n", "↵\n");
    if (letters.length === last - first + 1) return letters[pos - first];
    return pos === first ? token.token : "‥";
  });
}

function paint() {
  byId("legend").className = `legend ${state.tint}`;
  options.forEach((_, index) => paintOne(index));
}

function paintOne(index) {
  const { run } = state;
  const [option, token, reading] = [options[index], run?.tokens[index], run?.readings.get(index)];
  if (!option || !token) return;
  const by = state.tint === "trust" ? "trust" : "FVE";
  const share = shareOf(reading);
  const flags = reading?.flags ?? [...(token.special ? ["special_token"] : []), ...(token.template ? ["template_token"] : [])];
  const warned = flags.some((flag) => flag !== "template_token" && !(token.template && flag === "special_token"));
  const inside = option.classList.contains("shown");
  option.className = ["token", reading ? tint(share) : "unread", state.tint, warned && "warned", token.template && "template",
    run.drafts.has(index) && "draft", reading && !passes(reading) && "dim", inside && "shown"].filter(Boolean).join(" ");
  const score = !reading ? "not read" : share === null ? `no ${by}` : `${by} ${scoreShown(reading)}`;
  const floor = reading && state.tint === "fve" && typeof reading.floor_fve === "number" ? ` · floor ${number(reading.floor_fve)}` : "";
  const little = reading ? littleToSay(reading) : "";
  option.setAttribute("aria-label", visible(`${index}: ${token.token.trim() || token.token}, ${score}${flags.length ? `, ${flags.join(", ")}` : ""}${little ? `, ${little}` : ""}`));
  option.title = visible(`${index} · ${score}${floor}${state.tint === "fve" && trustOf(reading) ? ` · trust ${trustShown(reading)}` : ""}${flags.length ? ` · ${flags.join(", ")}` : ""}${little ? ` · ${little}` : ""}`);
}

function mark() {
  const shown = new Set(inView());
  options.forEach((option, index) => {
    option.setAttribute("aria-selected", state.selection.has(index));
    option.classList.toggle("shown", shown.has(index));
  });
  const n = state.selection.size;
  byId("selected").textContent = n > 1 ? `${n} selected` : "";
  byId("clear").hidden = n === 0;
}

/** Scrolls the strip, and nothing else, to the token in view. */
function uncover() {
  const [strip, option] = [byId("strip"), options[inView()[0]]];
  if (!option) return;
  const [box, own] = [strip.getBoundingClientRect(), option.getBoundingClientRect()];
  if (own.top < box.top) strip.scrollTop -= box.top - own.top + 8;
  else if (own.bottom > box.bottom) strip.scrollTop += own.bottom - box.bottom + 8;
}

function focusOn(index) {
  if (!options[index]) return;
  options[cursor]?.setAttribute("tabindex", -1);
  cursor = index;
  options[cursor].setAttribute("tabindex", 0);
  options[cursor].focus();
}

function range(from, to) {
  const [first, last] = from < to ? [from, to] : [to, from];
  return Array.from({ length: last - first + 1 }, (_, step) => first + step);
}

function indexAt(event) {
  const under = document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-pos]");
  return under && byId("strip").contains(under) ? Number(under.dataset.pos) : null;
}

function down(event) {
  touched = event.pointerType === "touch";
  if (!touched) choose(event);
}

function tapped(event) {
  if (touched) choose(event);
  emit("look");
}

function choose(event) {
  const index = indexAt(event);
  if (index === null || event.button !== 0) return;
  event.preventDefault();
  if (event.shiftKey) select(range(anchor, index));
  else {
    const toggled = new Set(event.ctrlKey || event.metaKey ? state.selection : []);
    if (state.selection.has(index) && (event.ctrlKey || event.metaKey)) toggled.delete(index);
    else toggled.add(index);
    anchor = index;
    select(toggled);
    dragging = !touched && !event.ctrlKey && !event.metaKey;
  }
  focusOn(index);
}

function moved(event) {
  if (!dragging || event.buttons === 0) return;
  const index = indexAt(event);
  if (index === null || index === cursor) return;
  focusOn(index);
  select(range(anchor, index));
}

/** The token above or below the cursor on the screen. */
function line(step) {
  const here = options[cursor].getBoundingClientRect();
  const middle = (here.left + here.right) / 2;
  let best = cursor;
  let score = Infinity;
  for (let index = cursor + step; options[index]; index += step) {
    const box = options[index].getBoundingClientRect();
    const lines = Math.round(Math.abs(box.top - here.top) / here.height);
    if (lines > 3) break;
    const off = Math.abs((box.left + box.right) / 2 - middle) + 10000 * Math.abs(lines - 1);
    if (lines >= 1 && off < score) [best, score] = [index, off];
  }
  return best;
}

function pressed(event) {
  const last = options.length - 1;
  const plain = !event.ctrlKey && !event.metaKey;
  const target = {
    ArrowLeft: () => Math.max(0, cursor - 1), ArrowRight: () => Math.min(last, cursor + 1),
    ArrowUp: () => line(-1), ArrowDown: () => line(1), Home: () => 0, End: () => last,
  }[event.key];
  if (target && !event.altKey) {
    const index = target();
    if (event.shiftKey) select(range(anchor, index));
    else if (plain) {
      anchor = index;
      select([index]);
    }
    focusOn(index);
  } else if (event.key === " ") {
    const toggled = new Set(state.selection);
    if (!toggled.delete(cursor)) toggled.add(cursor);
    anchor = cursor;
    select(toggled);
  } else if (event.key.toLowerCase() === "a" && !plain) select(range(0, last));
  else if (event.key === "Escape") select([]);
  else return;
  event.preventDefault();
}

/** A strip that only shows: for reports; every token that was read leads to its reading. */
export function stillStrip(run, share, id = (pos) => `r${pos}`) {
  const strip = el("p", { class: "strip" });
  const labels = labelsOf(run.tokens);
  arrange(strip, run.tokens.map((token, pos) => {
    const reading = run.readings.get(pos);
    const look = `token ${reading ? tint(share(reading)) : "unread"} ${reading?.flags.length ? "warned" : ""}`;
    return reading ? el("a", { class: look, href: `#${id(pos)}` }, labels[pos]) : el("span", { class: look }, labels[pos]);
  }));
  return strip;
}
