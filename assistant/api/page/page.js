// The page: three views, and what each needs when it is opened.

import { showArms } from "./ask.js";
import { showDocuments, showShelf } from "./documents.js";
import { at, problemBox } from "./element.js";
import { showReports } from "./evaluations.js";

const VIEWS = {
  ask: { title: "Ask", open: async () => {}, focus: "question" },
  documents: { title: "Documents", open: showShelf, focus: "documents-title" },
  evaluations: { title: "Evaluations", open: showReports, focus: "evaluations-title" },
};

async function tried(work) {
  try {
    await work();
    at("trouble").replaceChildren();
  } catch (error) {
    at("trouble").replaceChildren(problemBox(error));
  }
}

async function show(moved) {
  const name = location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "ask";
  for (const view of Object.keys(VIEWS)) at(`view-${view}`).hidden = view !== name;
  for (const link of document.querySelectorAll("nav [data-view]")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${VIEWS[name].title} · Groundtune`;
  if (moved || name === "ask") at(VIEWS[name].focus).focus({ preventScroll: moved });
  await tried(VIEWS[name].open);
}

addEventListener("hashchange", () => {
  if (location.hash !== "#main") show(true);
});
await show(false);
if (!at("trouble").firstChild) await tried(() => Promise.all([showArms(), showDocuments()]));
document.body.dataset.ready = "true";
