// The service, as the page speaks to it: errors, the access key, streams of events.

import { at } from "./element.js";

const KEPT = "groundtune-key"; // in this tab alone, and never in an address
let key = sessionStorage.getItem(KEPT) || "";
let entering = null; // one dialog for all who wait

export class Problem extends Error {
  constructor({ message, hint }) {
    super(message);
    this.hint = hint || "";
  }
}

async function problemOf(response) {
  let told = { message: `The service answered with status ${response.status}.` };
  try {
    told = (await response.json()).error;
  } catch { /* not our service's shape: the status says it */ }
  const wait = Number(response.headers.get("Retry-After"));
  const patience = wait ? `Try again in ${wait} s.` : "";
  const problem = new Problem({ message: told.message, hint: [told.hint, patience].filter(Boolean).join(" ") });
  problem.status = response.status;
  return problem;
}

function kept(value) {
  key = value;
  if (value) sessionStorage.setItem(KEPT, value);
  else sessionStorage.removeItem(KEPT);
  at("forget-key").hidden = !value;
}

function enterKey(why) {
  if (entering) return entering;
  const dialog = at("key-dialog");
  at("key").value = "";
  if (key) at("key-why").textContent = why;
  dialog.returnValue = "";
  dialog.showModal();
  entering = new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "use" ? at("key").value.trim() : "";
      at("key").value = "";
      if (given) kept(given);
      entering = null;
      resolve(Boolean(given));
    }, { once: true });
  });
  return entering;
}

// Sends a request; where the service wants a key, asks for one and sends it again.
export async function send(path, options = {}) {
  for (;;) {
    const used = key;
    const headers = { ...options.headers };
    if (used) headers.Authorization = `Bearer ${used}`;
    let response;
    try {
      response = await fetch(path, { ...options, headers, credentials: "omit" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem({ message: "The service does not answer.", hint: "See whether groundtune serve is still running, then try again." });
    }
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (response.status !== 401) throw problem;
    if (used === key && !(await enterKey(problem.message))) throw problem;
  }
}

export async function call(path, options) {
  return (await send(path, options)).json();
}

export function post(path, body, options = {}) {
  const headers = { "Content-Type": "application/json" };
  return send(path, { method: "POST", headers, body: JSON.stringify(body), ...options });
}

export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      return; // broken off: whoever reads misses the last event
    }
    if (piece.done) return;
    rest += piece.value;
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const name = lines.find((line) => line.startsWith("event: "));
      const data = lines.find((line) => line.startsWith("data: "));
      if (name && data) yield [name.slice(7), JSON.parse(data.slice(6))];
    }
  }
}

at("forget-key").hidden = !key;
at("forget-key").addEventListener("click", () => {
  kept("");
  location.reload();
});
