// A document, opened at the words that an answer rests on.

import { call } from "./client.js";
import { at, button, make, problemBox } from "./element.js";

const AROUND = 20000; // characters on either side of the quote; the rest on request

// Positions count characters as the service does, by code point; JavaScript's own count halves.
function pieces(document, quote, whole) {
  const letters = Array.from(document.text);
  const from = whole || !quote ? 0 : Math.max(0, quote.start - AROUND);
  const to = whole ? letters.length : Math.min(letters.length, (quote ? quote.end : 0) + AROUND);
  const leaves = signs(document.chunk_list).filter(({ start }) => start >= from && start < to);
  const cuts = new Set([from, to, ...leaves.map((leaf) => leaf.start)]);
  if (quote) cuts.add(quote.start).add(quote.end);
  const places = [...cuts].filter((place) => place >= from && place <= to).sort((a, b) => a - b);
  const found = [];
  places.slice(0, -1).forEach((start, n) => {
    const leaf = leaves.find((one) => one.start === start);
    if (leaf && leaf.page) found.push(make("span", leaf.page, "leaf"));
    if (leaf && leaf.heading) found.push(make("strong", leaf.heading, "heading"));
    const text = letters.slice(start, places[n + 1]).join("");
    const inside = quote && start >= quote.start && start < quote.end;
    found.push(inside ? make("mark", text) : text);
  });
  return { found, partial: from > 0 || to < letters.length };
}

// Where a page or a section begins: the text itself holds no headings.
function signs(chunks) {
  const found = [];
  let last = { page: null, heading: "" };
  for (const { page, heading, start } of chunks) {
    const turned = page !== null && page !== last.page ? `Page ${page}` : "";
    const opened = heading !== last.heading ? heading : "";
    if (turned || opened) found.push({ start, page: turned, heading: opened });
    last = { page, heading };
  }
  return found;
}

function show(document, quote, whole = false) {
  const { found, partial } = pieces(document, quote, whole);
  const rest = button("Show the whole document", "quiet small", () => show(document, quote, true));
  at("reader-text").replaceChildren(...found, ...(partial ? [make("p"), rest] : []));
  const mark = at("reader-text").querySelector("mark");
  if (mark) mark.scrollIntoView({ block: "center" });
  else at("reader-text").scrollTop = 0;
}

// `place` is a citation, an item of evidence, or a document of the list.
export async function read(place) {
  const id = place.document_id || place.id;
  const quote = place.document_id ? place : null;
  at("reader-title").textContent = place.title || place.source;
  const spot = [place.source, place.page ? `page ${place.page}` : "", place.heading];
  at("reader-place").textContent = spot.filter(Boolean).join(" · ");
  at("reader-text").replaceChildren(make("p", "Opening …", "hint"));
  at("reader").showModal();
  at("reader-text").focus();
  try {
    show(await call(`/api/documents/${encodeURIComponent(id)}`), quote);
  } catch (error) {
    at("reader-text").replaceChildren(problemBox(error));
  }
}

at("reader-close").addEventListener("click", () => at("reader").close());
at("reader").addEventListener("click", (event) => {
  if (event.target === at("reader")) at("reader").close(); // beside the sheet
});
