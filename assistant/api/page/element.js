// Elements. All text from documents, models and files is set as text, never as markup.

export const at = (id) => document.getElementById(id);

export function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  if (text !== "") element.textContent = text;
  if (className) element.className = className;
  return element;
}

export function button(text, className, onClick) {
  const made = make("button", text, className);
  made.type = "button";
  made.addEventListener("click", onClick);
  return made;
}

export function counted(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

// What went wrong, in plain words, with the change that mends it.
export function problemBox(error) {
  const box = make("p", error.message || String(error), "error");
  box.setAttribute("role", "alert");
  if (error.hint) box.append(make("small", error.hint));
  return box;
}

// Asks before something that cannot be undone; true if it shall be done.
export function sure(title, words, yes) {
  at("sure-title").textContent = title;
  at("sure-words").textContent = words;
  at("sure-yes").textContent = yes;
  const dialog = at("sure");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
