// Asking: one arm, or all four on the same question.

import { AnswerBox } from "./answer.js";
import { call } from "./client.js";
import { at, make } from "./element.js";

const ARMS = {
  base: ["Base", "the model alone"],
  rag: ["RAG", "with your documents"],
  finetuned: ["Tuned", "in your style"],
  combined: ["Combined", "tuned, with documents"],
};
const TUNED = ["finetuned", "combined"];
let asking = null;
let adapters = [];

const mode = () => document.querySelector("input[name=mode]:checked").value;
const status = (text) => { at("status").textContent = text; };

function bodyOf(question, arm) {
  const body = { question, mode: arm };
  if (at("collection").value) body.collection = at("collection").value;
  if (TUNED.includes(arm) && at("adapter").value) body.adapter = at("adapter").value;
  return body;
}

async function askOne(question, arm) {
  const box = new AnswerBox(...ARMS[arm]);
  at("answers").className = "single";
  at("answers").replaceChildren(box.element);
  const answer = await box.ask(bodyOf(question, arm), asking.signal, status);
  return answer ? "Answered." : "";
}

// Retrieval from left to right, tuning from top to bottom: what each adds stands side by side.
async function askAll(question) {
  at("answers").className = "four";
  const boxes = Object.entries(ARMS).map(([arm, words]) => [arm, new AnswerBox(...words)]);
  at("answers").replaceChildren(...boxes.map(([, box]) => box.element));
  let ended = 0;
  let whole = 0;
  const able = boxes.filter(([arm, box]) => {
    const can = adapters.length > 0 || !TUNED.includes(arm);
    if (!can) box.decline("There is no adapter yet, so this arm cannot answer.");
    return can;
  });
  await Promise.all(able.map(async ([arm, box]) => {
    const answer = await box.ask(bodyOf(question, arm), asking.signal, () => {});
    ended += 1;
    whole += answer ? 1 : 0;
    status(`${ended} of ${able.length} arms have ended …`);
  }));
  return `${whole} of ${able.length} arms answered.`;
}

async function ask() {
  const question = at("question").value.trim();
  if (!question || asking) return;
  asking = new AbortController();
  at("send").disabled = true;
  at("stop").hidden = false;
  status("Searching …");
  try {
    status(await (mode() === "all" ? askAll(question) : askOne(question, mode())));
  } finally {
    at("send").disabled = false;
    at("stop").hidden = true;
    asking = null;
  }
}

function stop() {
  if (asking) asking.abort();
}

function showAdapterChoice() {
  at("adapter-choice").hidden = adapters.length === 0 || ["base", "rag"].includes(mode());
}

export async function showArms() {
  ({ adapters } = await call("/api/adapters"));
  for (const arm of TUNED) {
    const input = document.querySelector(`input[name=mode][value=${arm}]`);
    input.disabled = adapters.length === 0;
    if (input.disabled) input.setAttribute("aria-describedby", "no-adapter");
    else input.removeAttribute("aria-describedby");
  }
  at("no-adapter").hidden = adapters.length > 0;
  const named = adapters.map(({ name, version, aliases }) => {
    const also = aliases.length ? ` (${aliases.join(", ")})` : "";
    return new Option(`${name}:${version}${also}`, `${name}:${version}`);
  });
  at("adapter").replaceChildren(new Option("in production, else newest", ""), ...named);
  if (adapters.length > 0) document.querySelector("input[value=combined]").checked = true;
  showAdapterChoice();
}

// Collections are known by their documents.
export function showCollections(documents) {
  const names = [...new Set(documents.map((d) => d.collection))].sort();
  const chosen = at("collection").value;
  at("collection").replaceChildren(...names.map((name) => new Option(name, name)));
  if (names.includes(chosen)) at("collection").value = chosen;
  else if (names.includes("default")) at("collection").value = "default";
  at("collection-choice").hidden = names.length < 2;
  at("no-documents").hidden = documents.length > 0;
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
at("stop").addEventListener("click", stop);
at("ask").addEventListener("change", showAdapterChoice);
at("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  at("ask").requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) stop();
});
