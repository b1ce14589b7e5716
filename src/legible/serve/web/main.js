// Starts the page: the token, the checkpoints, the views, and what the address holds.

import { ApiError, forgetToken, get, giveToken, signIn } from "./api.js";
import { setUpChat } from "./chat.js";
import { setUpCompare } from "./compare.js";
import { byId, el, visible } from "./dom.js";
import { setUpEvaluate } from "./evaluate.js";
import { setUpExamples } from "./examples.js";
import { setUpMatrix } from "./matrix.js";
import { setUpPanel } from "./panel.js";
import { setUpReading, showForm, start } from "./reading.js";
import { setUpSearch } from "./search.js";
import { setUpShare } from "./share.js";
import { emit, fromLink, on, select, source, state, toSession, unpacked, VIEWS } from "./state.js";
import { setUpSteer } from "./steer.js";
import { setUpStrip } from "./tokens.js";
import { showError, stop } from "./working.js";

const THEMES = ["system", "light", "dark"];
const SESSION = "legible.session"; // what a reload of this tab takes up

function setUpTheme() {
  const button = byId("theme");
  const show = (theme) => {
    if (theme === "system") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
  };
  const stored = () => THEMES[Math.max(0, THEMES.indexOf(localStorage.getItem("legible.theme")))];
  show(stored());
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(stored()) + 1) % THEMES.length];
    localStorage.setItem("legible.theme", next);
    show(next);
  });
}

function setUpTabs() {
  const tabs = VIEWS.map((view) => byId(`tab-${view}`));
  tabs.forEach((tab, index) => {
    tab.type = "button";
    tab.addEventListener("click", () => show(VIEWS[index]));
    tab.addEventListener("keydown", (event) => {
      const next = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      show(VIEWS[(next + tabs.length) % tabs.length]);
      byId(`tab-${state.view}`).focus();
    });
  });
}

function show(view) {
  state.view = view;
  for (const one of VIEWS) {
    const tab = byId(`tab-${one}`);
    tab.setAttribute("aria-selected", one === view);
    tab.tabIndex = one === view ? 0 : -1;
    byId(`view-${one}`).hidden = one !== view;
  }
  byId(`tab-${view}`).scrollIntoView({ block: "nearest", inline: "nearest" });
  document.title = `Legible: ${view}`;
  emit("view", view);
}

function showSource() {
  const one = source();
  byId("source").value = state.source;
  byId("about").textContent = visible(one ? [
    `The model that is read: ${one.target}, after block ${one.layer} of ${one.n_layers}, up to ${one.context} tokens.`,
    !one.calibrator && "Its pair has no calibrator, so claims have no probability.", !one.reconstructor && "It has no reconstructor, so there are no scores.",
  ].filter(Boolean).join(" ") : "");
}

async function load() {
  if (!(await signIn())) return signedOut();
  byId("signin").hidden = true;
  state.sources = (await get("/api/v1/sources")).sources;
  byId("source").replaceChildren(...state.sources.map((one) => el("option", { value: one.id }, `${one.name} · layer ${one.layer}`)));
  state.source = state.sources[0].id;
  await open(location.hash || sessionStorage.getItem(SESSION) || "");
}

/** Opens a link: its checkpoint, prompt, positions and selection. */
async function open(fragment) {
  const linked = fromLink(fragment);
  history.replaceState(null, "", location.pathname);
  showSource();
  emit("source");
  showForm();
  show(state.view);
  if (!linked) return;
  const wanted = linked.read === "all" || !linked.read ? linked.read || null : unpacked(linked.read);
  if (wanted) await start(wanted);
  const n = state.run?.tokens.length ?? 0;
  select(linked.selected.filter((pos) => pos < n));
}

function signedOut() {
  forgetToken();
  byId("signin").hidden = false;
  byId("signin-token").focus();
}

async function attempt() {
  try {
    await load();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showError(error.message);
    if (error.status === 401) signedOut();
  }
}

setUpTheme();
setUpTabs();
setUpStrip();
setUpSearch();
setUpReading();
setUpChat();
setUpPanel();
setUpExamples();
setUpMatrix();
setUpCompare();
setUpSteer();
setUpEvaluate();
setUpShare();
on("signed-out", signedOut);
byId("stop").addEventListener("click", stop);
byId("source").addEventListener("change", () => { stop(); state.source = byId("source").value; showSource(); emit("source"); });
byId("signin").addEventListener("submit", (event) => {
  event.preventDefault();
  giveToken(byId("signin-token").value);
  byId("signin-token").value = "";
  showError("");
  attempt();
});
window.addEventListener("pagehide", () => state.source && sessionStorage.setItem(SESSION, toSession(byId("text").value)));
window.addEventListener("hashchange", () => location.hash.includes("=") && attempt());
attempt();
