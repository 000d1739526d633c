// The documents: what there is, taking more in, letting some go.

import { showCollections } from "./ask.js";
import { call } from "./client.js";
import { at, button, counted, make, problemBox, sure } from "./element.js";
import { JobLine, named, showJobs } from "./jobs.js";
import { read } from "./reader.js";

let known = [];
let mayAdd = true;

function documentItem(doc) {
  const item = make("li");
  const title = doc.title || doc.source;
  const words = make("div");
  const amount = [doc.pages ? counted(doc.pages, "page") : "", counted(doc.chunks, "passage")];
  const place = [doc.source, ...amount].filter(Boolean).join(" · ");
  words.append(button(title, "name", () => read(doc)));
  words.append(doc.error ? make("small", `${doc.source} · ${doc.error}`, "bad") : make("small", place));
  item.append(words);
  if (mayAdd) {
    const remove = button("Delete", "quiet small", () => removed(doc, title));
    remove.setAttribute("aria-label", `Delete ${title}`);
    item.append(remove);
  }
  return item;
}

async function removed(doc, title) {
  const words = `Its passages, its file and the answers given from it go with “${title}”. This cannot be undone.`;
  if (!(await sure("Delete this document?", words, "Delete it"))) return;
  try {
    await call(`/api/documents/${encodeURIComponent(doc.id)}`, { method: "DELETE" });
    await showDocuments();
    at("count").textContent = `Deleted: ${title}. ${at("count").textContent}`;
  } catch (error) {
    at("trouble").replaceChildren(problemBox(error));
  }
  at("list-title").focus();
}

function showList() {
  const wanted = at("find").value.trim().toLowerCase();
  const collection = at("collection").value;
  const here = known.filter((d) => !collection || d.collection === collection);
  const shown = here.filter((d) => `${d.title} ${d.source}`.toLowerCase().includes(wanted));
  at("documents").replaceChildren(...shown.map(documentItem));
  at("count").textContent = wanted ? `${shown.length} of ${counted(here.length, "document")}` : counted(here.length, "document");
  at("empty").hidden = shown.length > 0;
  at("empty").textContent = here.length ? "No title or file name holds these words." : "Nothing here yet. Add a document, then ask about it.";
}

export async function showDocuments() {
  ({ documents: known } = await call("/api/documents"));
  showCollections(known);
  showList();
}

export async function showShelf() {
  await showDocuments();
  mayAdd = await showJobs(showDocuments);
  at("add").hidden = !mayAdd;
  at("read-only").hidden = mayAdd;
  showList();
}

async function upload(files) {
  if (files.length === 0) return;
  const form = new FormData();
  if (at("collection").value) form.append("collection", at("collection").value);
  for (const file of files) form.append("files", file);
  const line = new JobLine(named(files.map((file) => file.name), files.length));
  at("jobs").prepend(line.element);
  at("jobs-part").hidden = false;
  try {
    const { job_id: id } = await call("/api/documents", { method: "POST", body: form });
    await line.follow(id);
  } catch (error) {
    line.fail(error);
  }
  await showDocuments();
}

at("find").addEventListener("input", showList);
at("collection").addEventListener("change", showList);
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
