// The page. All text from documents, models and files is set as text, never as markup.

const at = (id) => document.getElementById(id);
const TUNED = ["finetuned", "combined"];
let asking = null;

function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  if (text !== "") element.textContent = text;
  if (className) element.className = className;
  return element;
}

function counted(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

class Problem extends Error {
  constructor({ message, hint }) {
    super(message);
    this.hint = hint || "";
  }
}

async function checked(response) {
  if (response.ok) return response;
  let error = { message: `The server answered with status ${response.status}.` };
  try {
    error = (await response.json()).error;
  } catch { /* not our server's shape: the status says it */ }
  throw new Problem(error);
}

async function call(path, options) {
  return (await checked(await fetch(path, options))).json();
}

function problemBox(error) {
  const box = make("p", error.message || String(error), "error");
  box.setAttribute("role", "alert");
  if (error.hint) box.append(make("small", error.hint));
  return box;
}

// ---- asking

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const blocks = rest.split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const name = lines.find((l) => l.startsWith("event: "));
      const data = lines.find((l) => l.startsWith("data: "));
      if (name && data) yield [name.slice(7), JSON.parse(data.slice(6))];
    }
  }
}

// A JSON answer on its way: show its first sentence as it grows.
function preview(text) {
  if (!text.trimStart().startsWith("{")) return text;
  const found = /"answer"\s*:\s*"((?:[^"\\]|\\.)*)/.exec(text);
  if (!found) return "";
  try {
    return JSON.parse(`"${found[1]}"`);
  } catch {
    return found[1];
  }
}

function houseAnswer(text) {
  try {
    const value = JSON.parse(text);
    return value && typeof value === "object" && typeof value.answer === "string" ? value : null;
  } catch {
    return null;
  }
}

function withMarkers(element, text) {
  for (const part of text.split(/(\[\d{1,2}\])/)) {
    const marker = /^\[(\d{1,2})\]$/.exec(part);
    if (marker && at(`source-${marker[1]}`)) element.append(markerLink(marker[1]));
    else element.append(part);
  }
  return element;
}

function markerLink(number) {
  const link = make("a", String(number), "marker");
  link.href = `#source-${number}`;
  link.setAttribute("aria-label", `Source ${number}`);
  return link;
}

function showHouse(target, house) {
  const lead = withMarkers(make("p", "", "lead"), house.answer);
  const numbers = Array.isArray(house.sources) ? house.sources : [];
  for (const number of numbers) if (at(`source-${number}`)) lead.append(" ", markerLink(number));
  target.append(lead);
  showList(target, "Steps", "ol", "steps", house.steps);
  showList(target, "Part numbers", "ul", "chips", house.part_numbers);
  if (house.safety_note) target.append(make("p", String(house.safety_note), "note"));
  const known = ["answer", "steps", "part_numbers", "safety_note", "sources"];
  for (const [key, value] of Object.entries(house)) {
    if (known.includes(key)) continue;
    target.append(make("p", key, "label"));
    target.append(make("p", typeof value === "string" ? value : JSON.stringify(value), "plain"));
  }
}

function showList(target, title, tag, className, items) {
  if (!Array.isArray(items) || items.length === 0) return;
  target.append(make("p", title, "label"));
  const list = make(tag, "", className);
  for (const item of items) list.append(make("li", String(item)));
  target.append(list);
}

function sourceItem(marker, place, quote, read) {
  const item = make("li", "", read ? "read" : "");
  item.id = `source-${marker}`;
  const where = make("div", "", "where");
  where.append(make("span", String(marker), "number"), make("b", place.title || place.source));
  const spot = [place.source, place.page ? `page ${place.page}` : "", place.heading];
  where.append(make("small", spot.filter(Boolean).join(" · ")));
  item.append(where, make("blockquote", quote));
  return item;
}

function showSources(items, title) {
  at("sources-title").textContent = title;
  at("source-list").replaceChildren(...items);
  at("sources").hidden = items.length === 0;
}

function badge(text, kind = "") {
  at("badge").textContent = text;
  at("badge").className = `badge ${kind}`;
  at("badge").hidden = !text;
}

function showDone(body, evidence) {
  const cited = body.citations.map((c) => sourceItem(c.marker, c, c.quote, false));
  showSources(cited, "Sources"); // before the answer, which links to them
  const said = at("said");
  said.replaceChildren();
  const house = houseAnswer(body.answer);
  if (house) showHouse(said, house);
  else said.append(withMarkers(make("p", "", "lead"), body.answer));
  if (cited.length === 0 && !body.abstained) {
    const read = evidence.map((e) => sourceItem(e.marker, e, e.text, true));
    showSources(read, "Passages the model was given");
  }
  if (body.abstained) badge("Abstained: the documents do not say", "warn");
  else if (cited.length === 0 && body.mode !== "base" && body.mode !== "finetuned")
    badge("No passage supports this", "warn");
  else if (cited.length === 0) badge("Not checked against documents", "warn");
  const seconds = (body.timings_ms.total / 1000).toFixed(1);
  const parts = [`${seconds} s`, body.adapter ? `adapter ${body.adapter}` : "", body.model];
  if (body.evidence_dropped) parts.push(`${counted(body.evidence_dropped, "passage")} did not fit`);
  at("figures").textContent = parts.filter(Boolean).join(" · ");
}

function begin() {
  at("answer").hidden = false;
  at("said").replaceChildren();
  at("said").setAttribute("aria-busy", "true");
  at("figures").textContent = "";
  at("send").disabled = true;
  at("stop").hidden = false;
  showSources([], "Sources");
  badge("");
}

function end() {
  at("said").setAttribute("aria-busy", "false");
  at("send").disabled = false;
  at("stop").hidden = true;
  asking = null;
}

async function ask() {
  const question = at("question").value.trim();
  if (!question || asking) return;
  asking = new AbortController();
  begin();
  const mode = document.querySelector("input[name=mode]:checked").value;
  const collection = at("collection").value || "default";
  try {
    const response = await checked(await fetch("/api/ask", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ question, mode, collection, stream: true }),
      signal: asking.signal,
    }));
    await follow(response);
  } catch (error) {
    if (error.name === "AbortError") {
      badge("Stopped: not a whole answer", "warn");
    } else {
      badge("No answer", "bad");
      at("said").replaceChildren(problemBox(error));
      showSources([], "Sources");
    }
  } finally {
    end();
  }
}

async function follow(response) {
  let text = "";
  let evidence = [];
  const line = make("p", "", "lead");
  for await (const [name, data] of eventsOf(response)) {
    if (name === "evidence") {
      evidence = data.evidence;
      const read = evidence.map((e) => sourceItem(e.marker, e, e.text, true));
      showSources(read, "Passages being read");
      at("said").replaceChildren(line);
    } else if (name === "text") {
      text += data.text;
      line.textContent = preview(text);
    } else if (name === "done") {
      showDone(data, evidence);
      return;
    } else if (name === "error") {
      throw new Problem(data.error);
    }
  }
  throw new Problem({ message: "The answer broke off.", hint: "Ask again." });
}

// ---- documents

async function showDocuments() {
  const { documents } = await call("/api/documents");
  const collections = [...new Set(["default", ...documents.map((d) => d.collection)])].sort();
  const chosen = at("collection").value || "default";
  at("collection").replaceChildren(...collections.map((name) => new Option(name, name)));
  at("collection").value = collections.includes(chosen) ? chosen : "default";
  at("collection-choice").hidden = collections.length < 2;
  const shown = documents.filter((d) => d.collection === at("collection").value);
  at("documents").replaceChildren(...shown.map(documentItem));
  at("empty").hidden = shown.length > 0;
  at("count").textContent = shown.length ? String(shown.length) : "";
}

function documentItem(doc) {
  const item = make("li");
  const words = make("div");
  const amount = [doc.pages ? counted(doc.pages, "page") : "", counted(doc.chunks, "passage")];
  words.append(make("span", doc.title || doc.source, "name"));
  words.append(make("small", [doc.source, ...amount].filter(Boolean).join(" · ")));
  const remove = make("button", "Remove");
  remove.type = "button";
  remove.setAttribute("aria-label", `Remove ${doc.title || doc.source}`);
  remove.addEventListener("click", async () => {
    if (!confirm(`Remove ${doc.source}? Answers will no longer use it.`)) return;
    try {
      await call(`/api/documents/${encodeURIComponent(doc.id)}`, { method: "DELETE" });
    } catch (error) {
      at("job").replaceChildren(problemBox(error));
    }
    await showDocuments();
  });
  item.append(words, remove);
  return item;
}

async function upload(files) {
  if (files.length === 0) return;
  const form = new FormData();
  form.append("collection", at("collection").value || "default");
  for (const file of files) form.append("files", file);
  const bar = document.createElement("progress");
  bar.setAttribute("aria-label", "Adding documents");
  const line = make("span", `Sending ${files.length === 1 ? files[0].name : `${files.length} files`} …`);
  at("job").replaceChildren(line, bar);
  try {
    const { job_id: id } = await call("/api/documents", { method: "POST", body: form });
    const job = await jobEnd(id, (progress) => {
      bar.max = progress.total;
      bar.value = progress.done;
      line.textContent = progress.current ? `Reading ${progress.current} …` : "Waiting …";
    });
    showTally(job);
  } catch (error) {
    at("job").replaceChildren(problemBox(error));
  }
  await showDocuments();
}

function jobEnd(id, onProgress) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(`/api/jobs/${id}/events`);
    const finish = (event) => {
      source.close();
      resolve(JSON.parse(event.data));
    };
    source.addEventListener("progress", (event) => onProgress(JSON.parse(event.data).progress));
    source.addEventListener("done", finish);
    source.addEventListener("failed", finish);
    source.onerror = () => {
      source.close();
      reject(new Problem({ message: "The connection was lost.", hint: "Reload to see what was added." }));
    };
  });
}

function showTally(job) {
  const result = job.result || { added: 0, updated: 0, unchanged: 0, failed: [] };
  const counts = ["added", "updated", "unchanged"].filter((k) => result[k]).map((k) => `${result[k]} ${k}`);
  const boxes = counts.length ? [make("p", `${counts.join(", ")}.`, "hint")] : [];
  for (const { source, error } of result.failed) boxes.push(problemBox(new Problem({ message: source, hint: error })));
  if (!job.result) boxes.push(problemBox(new Problem({ message: job.error || "It failed." })));
  at("job").replaceChildren(...boxes);
}

// ---- start

async function showArms() {
  const { adapters } = await call("/api/adapters");
  for (const mode of TUNED) {
    const input = document.querySelector(`input[value=${mode}]`);
    input.disabled = adapters.length === 0;
    if (input.disabled) input.setAttribute("aria-describedby", "no-adapter");
  }
  at("no-adapter").hidden = adapters.length > 0;
  if (adapters.length > 0) document.querySelector("input[value=combined]").checked = true;
}

at("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
at("stop").addEventListener("click", () => asking && asking.abort());
at("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    ask();
  }
});
at("collection").addEventListener("change", () => showDocuments());
at("files").addEventListener("change", async (event) => {
  await upload([...event.target.files]);
  event.target.value = "";
});
const drop = at("drop");
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) {
  drop.addEventListener(name, () => drop.classList.remove("over"));
}
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  upload([...event.dataTransfer.files]);
});

Promise.all([showArms(), showDocuments()]).catch((error) => at("job").replaceChildren(problemBox(error)));
