// One answer on the page: as it comes, when it is whole, and when there is none.

import { eventsOf, post, Problem } from "./client.js";
import { button, counted, make, problemBox } from "./element.js";
import { feedbackOn } from "./feedback.js";
import { read } from "./reader.js";

let answers = 0;

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

function marker(citation) {
  const title = citation.title || citation.source;
  const link = button(String(citation.marker), "marker", () => read(citation));
  link.setAttribute("aria-label", `Source ${citation.marker}: ${title}`);
  link.title = title;
  return link;
}

function withMarkers(element, text, citations) {
  for (const part of text.split(/(\[\d{1,2}\])/)) {
    const cited = citations.find(({ marker: number }) => part === `[${number}]`);
    // A marker stays with the word before it.
    element.append(cited ? marker(cited) : part.replace(/ $/, "\u00a0"));
  }
  return element;
}

function titled(key) {
  const words = key.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

// An answer in the house format: its sentence first, lists as lists, the rest under its names.
function showHouse(target, house, citations) {
  const lead = withMarkers(make("p", "", "lead"), house.answer, citations);
  for (const citation of citations) lead.append("\u00a0", marker(citation));
  target.append(lead);
  for (const [key, value] of Object.entries(house)) {
    const nothing = value === "" || value === null || (Array.isArray(value) && value.length === 0);
    if (["answer", "sources"].includes(key) || nothing) continue;
    if (key === "safety_note") {
      target.append(make("p", String(value), "note"));
      continue;
    }
    target.append(make("p", titled(key), "label"));
    if (Array.isArray(value)) {
      const list = make(key === "steps" ? "ol" : "ul", "", key === "steps" ? "steps" : "chips");
      for (const item of value) list.append(make("li", typeof item === "string" ? item : JSON.stringify(item)));
      target.append(list);
    } else {
      target.append(make("p", typeof value === "string" ? value : JSON.stringify(value)));
    }
  }
}

function sourceItem(place, quote, cited) {
  const item = make("li", "", cited ? "" : "uncited");
  const open = button("", "source", () => read(place));
  const where = make("span", "", "where");
  where.append(make("span", String(place.marker), "number"), make("b", place.title || place.source));
  const spot = [place.page ? `page ${place.page}` : "", place.heading].filter(Boolean).join(" · ");
  open.append(where, make("span", quote, "quote"), make("small", spot || place.source));
  item.append(open);
  return item;
}

function showSources(box, items, title) {
  const heading = make("h3", title);
  const list = make("ol");
  list.append(...items);
  box.replaceChildren(...(items.length ? [heading, list] : []));
}

export class AnswerBox {
  // `asked` is the question, where it does not stand above the answer already.
  constructor(name, words, asked = "") {
    answers += 1;
    this.element = make("article", "", "answer");
    this.badge = make("span", "", "badge");
    this.badge.hidden = true;
    this.said = make("div", "", "said");
    this.said.setAttribute("aria-live", "polite");
    this.figures = make("p", "", "hint figures");
    this.sources = make("aside", "", "sources");
    this.sources.setAttribute("aria-label", `Sources: ${name}`);
    this.foot = make("div");
    const title = make("h2", name);
    title.id = `answer-${answers}`;
    this.element.setAttribute("aria-labelledby", title.id);
    const head = make("header", "", "row");
    head.append(title, make("span", words, "hint"), this.badge);
    const main = make("div", "", "words");
    if (asked) main.append(make("p", asked, "asked"));
    main.append(head, this.said, this.figures, this.foot);
    this.element.append(main, this.sources);
  }

  mark(text, kind) {
    this.badge.textContent = text;
    this.badge.className = `badge ${kind}`;
    this.badge.hidden = false;
  }

  // What cannot answer says why.
  decline(words) {
    this.said.replaceChildren(make("p", words, "hint"));
  }

  // Asks, and shows the answer as it comes; returns it, or null where there is none.
  async ask(body, signal, onStatus) {
    this.said.setAttribute("aria-busy", "true");
    this.said.replaceChildren(make("p", "", "lead"));
    try {
      return await this.follow(await post("/api/ask", { ...body, stream: true }, { signal }), onStatus);
    } catch (error) {
      this.fail(error);
      return null;
    } finally {
      this.said.setAttribute("aria-busy", "false");
    }
  }

  async follow(response, onStatus) {
    let text = "";
    let evidence = [];
    for await (const [name, data] of eventsOf(response)) {
      if (name === "evidence") {
        evidence = data.evidence;
        onStatus(evidence.length ? `Reading ${counted(evidence.length, "passage")} …` : "Answering …");
        showSources(this.sources, evidence.map((e) => sourceItem(e, e.text, false)), "Being read");
      } else if (name === "text") {
        text += data.text;
        this.said.firstChild.textContent = preview(text);
      } else if (name === "done") {
        this.show(data, evidence);
        return data;
      } else if (name === "error") {
        throw new Problem(data.error);
      }
    }
    throw new Problem({ message: "The answer broke off, so it is not shown.", hint: "Ask again." });
  }

  fail(error) {
    if (error.name === "AbortError") {
      this.mark("Stopped: not a whole answer", "warn");
      return;
    }
    this.mark("No answer", "bad");
    this.said.replaceChildren(problemBox(error));
    this.sources.replaceChildren();
  }

  show(body, evidence) {
    const { citations } = body;
    this.said.replaceChildren();
    const house = houseAnswer(body.answer);
    if (house) showHouse(this.said, house, citations);
    else this.said.append(withMarkers(make("p", "", "lead"), body.answer, citations));
    if (body.choice) this.said.append(make("p", body.choice.text, "hint choice-made"));
    if (body.searched) this.said.append(make("p", body.searched.text, "hint"));
    const retrieves = body.mode === "rag" || body.mode === "combined";
    if (citations.length) {
      showSources(this.sources, citations.map((c) => sourceItem(c, c.quote, true)), "Rests on");
    } else if (evidence.length && !body.abstained) {
      showSources(this.sources, evidence.map((e) => sourceItem(e, e.text, false)), "Shown to the model, not cited");
    } else {
      this.sources.replaceChildren();
    }
    if (body.abstained) this.mark("The documents do not say", "calm");
    else if (citations.length) this.mark(counted(citations.length, "source"), "good");
    else this.mark(retrieves ? "No passage bears this out" : "Not checked against documents", "warn");
    const seconds = (body.timings_ms.total / 1000).toFixed(1);
    const parts = [`${seconds} s`, body.adapter ? `adapter ${body.adapter}` : "", body.model.split("/").pop()];
    if (body.evidence_dropped) parts.push(`${counted(body.evidence_dropped, "passage")} did not fit`);
    if (body.history_dropped) parts.push(`${counted(body.history_dropped, "earlier turn")} did not fit`);
    this.figures.textContent = parts.filter(Boolean).join(" · ");
    this.foot.replaceChildren(feedbackOn(body.request_id));
  }
}
