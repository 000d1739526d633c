// Asking: one arm, in a conversation, or all four on the same question.

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
const MOST_TURNS = 50; // as many as the service takes
let asking = null;
let adapters = [];
let turns = []; // questions and answers of this conversation, oldest first
let latest = null; // the last answer that is part of it

const mode = () => document.querySelector("input[name=mode]:checked").value;
const status = (text) => { at("status").textContent = text; };

function bodyOf(question, arm) {
  const body = { question, mode: arm };
  if (at("collection").value) body.collection = at("collection").value;
  if (TUNED.includes(arm) && at("adapter").value) body.adapter = at("adapter").value;
  if (turns.length) Object.assign(body, { history: turns.slice(-MOST_TURNS), forget: true });
  return body;
}

// Makes room for the next answer: the one before moves down, if it is part of the conversation.
function showConversation() {
  if (latest) at("turns").prepend(latest.element);
  latest = null;
  at("answers").replaceChildren();
  at("earlier").hidden = turns.length === 0;
  at("anew").hidden = turns.length === 0;
  at("question").placeholder = turns.length ? "A follow-up, or something else" : "";
}

async function askOne(question, arm) {
  const box = new AnswerBox(...ARMS[arm], question);
  showConversation();
  at("answers").className = "single";
  at("answers").append(box.element);
  const answer = await box.ask(bodyOf(question, arm), asking.signal, status);
  if (!answer) return "";
  turns.push({ question, answer: answer.answer });
  latest = box;
  at("anew").hidden = false;
  at("question").value = "";
  at("question").placeholder = "A follow-up, or something else";
  return "Answered.";
}

function beginAnew() {
  turns = [];
  latest = null;
  at("turns").replaceChildren();
  showConversation();
  status("A new conversation.");
  at("question").focus();
}

// Retrieval from left to right, tuning from top to bottom: what each adds stands side by side.
async function askAll(question) {
  at("answers").className = "four";
  const boxes = Object.entries(ARMS).map(([arm, words]) => [arm, new AnswerBox(...words)]);
  showConversation();
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
  const apart = turns.length ? " This comparison is not part of the conversation." : "";
  return `${whole} of ${able.length} arms answered.${apart}`;
}

async function ask() {
  const question = at("question").value.trim();
  if (!question || asking) return;
  asking = new AbortController();
  at("send").disabled = true;
  at("anew").disabled = true;
  at("stop").hidden = false;
  status("Searching …");
  try {
    status(await (mode() === "all" ? askAll(question) : askOne(question, mode())));
  } finally {
    at("send").disabled = false;
    at("anew").disabled = false;
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
  const either = [new Option("as configured", ""), new Option("the one the question is for", "auto")];
  at("adapter").replaceChildren(...either, ...named);
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
at("anew").addEventListener("click", beginAnew);
at("ask").addEventListener("change", showAdapterChoice);
at("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  at("ask").requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) stop();
});
