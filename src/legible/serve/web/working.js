// One piece of work at a time: its progress, its end, its failure, and Stop.

import { ApiError } from "./api.js";
import { byId, visible } from "./dom.js";
import { emit } from "./state.js";

let running = null;

export function showError(message) {
  const box = byId("error");
  box.hidden = !message;
  box.textContent = visible(message, "\n");
}

/** Ends what runs. */
export function stop() {
  running?.abort();
}

/** Runs `job(signal, progress)`; what ran before is stopped. The text it returns is announced. */
export async function work(what, job) {
  stop();
  const mine = (running = new AbortController());
  showError("");
  show(true);
  say(`${what}…`);
  const progress = { total: 0, step: (done) => step(mine, what, done, progress.total) };
  try {
    const end = await job(mine.signal, progress);
    if (running === mine) say(end ?? `${what}: done.`);
    return true;
  } catch (error) {
    if (running !== mine) return false;
    if (error.name === "AbortError") say("Stopped. What was finished stays.");
    else {
      say("");
      showError(error instanceof ApiError ? error.message : `the page failed: ${error.message}`);
      if (error.status === 401) emit("signed-out");
    }
    return false;
  } finally {
    if (running === mine) {
      running = null;
      show(false);
    }
  }
}

function step(mine, what, done, total) {
  if (running !== mine || !total) return;
  byId("progress").value = done / total;
  const quarter = Math.floor((4 * done) / total);
  if (quarter > Math.floor((4 * (done - 1)) / total)) say(`${what}: ${done} of ${total}`);
}

function show(busy) {
  byId("stop").hidden = !busy;
  byId("progress").hidden = !busy;
  byId("progress").value = 0;
  byId("cards").setAttribute("aria-busy", busy);
}

function say(text) {
  byId("status").textContent = visible(text);
}
