// What somebody thinks of an answer: right or not, and what it should have been.

import { post } from "./client.js";
import { button, make, problemBox } from "./element.js";

let forms = 0;

export function feedbackOn(requestId) {
  const box = make("div", "", "feedback");
  const noted = make("p", "", "hint");
  noted.setAttribute("role", "status");
  const form = correction(async (words, comment) => {
    if (await rate("down", words, comment)) form.hidden = true;
  });
  form.hidden = true;

  async function rate(rating, words = "", comment = "") {
    const body = { request_id: requestId, rating };
    if (words) body.correction = words;
    if (comment) body.comment = comment;
    try {
      await post("/api/feedback", body);
      right.setAttribute("aria-pressed", String(rating === "up"));
      wrong.setAttribute("aria-pressed", String(rating === "down"));
      noted.replaceChildren(words ? "Thank you: the correction is kept." : "Thank you, noted.");
      return true;
    } catch (error) {
      noted.replaceChildren(problemBox(error));
      return false;
    }
  }

  const right = button("Right", "quiet small", () => {
    form.hidden = true;
    rate("up");
  });
  const wrong = button("Not right", "quiet small", async () => {
    form.hidden = false;
    form.querySelector("textarea").focus();
    await rate("down");
  });
  for (const one of [right, wrong]) one.setAttribute("aria-pressed", "false");
  const group = make("div", "", "row");
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", "Was this answer right?");
  group.append(make("span", "Was this right?", "hint"), right, wrong);
  box.append(group, form, noted);
  return box;
}

function correction(onSend) {
  forms += 1;
  const form = make("form", "", "correction");
  const words = make("textarea");
  words.id = `correction-${forms}`;
  words.rows = 3;
  words.maxLength = 20000;
  const label = make("label", "What should it have said?");
  label.htmlFor = words.id;
  const comment = make("input");
  comment.id = `comment-${forms}`;
  comment.maxLength = 4000;
  const why = make("label", "Anything else? (optional)");
  why.htmlFor = comment.id;
  const send = make("button", "Send the correction", "small");
  send.type = "submit";
  form.append(label, words, why, comment, send);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    onSend(words.value.trim(), comment.value.trim());
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    form.hidden = true;
    event.stopPropagation();
  });
  return form;
}
