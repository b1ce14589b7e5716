// A link that reopens the session, and the session as a file. Nothing leaves this browser.

import { byId, el } from "./dom.js";
import { asJson, asMarkdown, asPage, fileName } from "./report.js";
import { on, state, toLink } from "./state.js";
import { showError } from "./working.js";

const KINDS = [
  ["html", "text/html", "One HTML file", asPage],
  ["json", "application/json", "JSON", asJson],
  ["md", "text/markdown", "Markdown", asMarkdown],
];

let link = null;
let buttons = [];
let said = null;

export function setUpShare() {
  link = el("textarea", { id: "link", class: "linkbox", rows: 4, readonly: true, "aria-label": "Link", on: { focus: () => link.select() } });
  said = el("span", { id: "copied", class: "soft", role: "status" });
  buttons = KINDS.map(([suffix, type, name, make]) => el("button", { type: "button", id: `save-${suffix}`, on: { click: () => save(suffix, type, make) } }, name));
  byId("view-share").append(
    el("h2", {}, "Link"),
    el("p", { class: "soft" }, "It reopens these readings: the same text or chat, tokens, selection, sampling and search, read again with the same result. It works where this server runs, for those who have its token; the token is not part of it."),
    link,
    el("div", { class: "row" }, el("button", { type: "button", id: "copy", class: "main", on: { click: copy } }, "Copy"), said),
    el("h2", {}, "Files"),
    el("p", { class: "soft", id: "share-help" }),
    el("div", { class: "row" }, buttons));
  on("view", (view) => view === "share" && show());
}

function show() {
  const { run, steered } = state;
  link.value = new URL(toLink(), location.origin + location.pathname).href.replace("view=share", "view=read");
  said.textContent = "";
  for (const button of buttons) button.disabled = !run?.readings.size;
  byId("share-help").textContent = run?.readings.size
    ? `${run.readings.size} readings${steered ? " and the last steering" : ""}. The HTML file opens without a server and fetches nothing.`
    : "Read a text first: there is nothing to save yet.";
}

async function copy() {
  try {
    await navigator.clipboard.writeText(link.value);
    said.textContent = "Copied.";
  } catch {
    link.select();
    said.textContent = "Select and copy it yourself: the browser does not allow it here.";
  }
}

async function save(suffix, type, make) {
  try {
    const url = URL.createObjectURL(new Blob([await make(state.run, state.steered)], { type: `${type};charset=utf-8` }));
    const anchor = el("a", { href: url, download: `${fileName(state.run)}.${suffix}` });
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    said.textContent = "";
  } catch (error) {
    showError(`the file could not be made: ${error.message}`);
  }
}
