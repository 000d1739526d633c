"use strict";
// The table of every question: built from the data block, a page at a time, text only.
(function () {
  var data = JSON.parse(document.getElementById("data").textContent);
  var list = document.getElementById("questions");
  var count = document.getElementById("count");
  var more = document.getElementById("more");
  var field = {};
  ["words", "kind", "tag", "arm", "state"].forEach(function (name) {
    field[name] = document.getElementById("filter-" + name);
  });
  var PAGE = 100;
  var found = [];
  var shown = 0;

  function element(tag, style, text) {
    var made = document.createElement(tag);
    if (style) made.className = style;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function text(number) {
    return data.texts[number];
  }

  function search(question) {
    if (question.search === undefined) {
      var parts = [question.i, question.q, question.r];
      question.a.forEach(function (cell) { parts.push(text(cell.x)); });
      question.search = parts.join("\n").toLowerCase();
    }
    return question.search;
  }

  function matches(cell, state) {
    if (state === "right") return cell.s === 1;
    if (state === "wrong") return cell.s === 0;
    if (state === "failed") return cell.s === -1;
    if (state === "abstained") return cell.b === 1;
    return true;
  }

  function keep(question) {
    var words = field.words.value.trim().toLowerCase();
    if (words && search(question).indexOf(words) < 0) return false;
    if (field.kind.value && question.k !== field.kind.value) return false;
    if (field.tag.value && question.t.indexOf(field.tag.value) < 0) return false;
    var state = field.state.value;
    if (state === "differ") {
      return question.a.some(function (cell) { return cell.s !== question.a[0].s; });
    }
    if (!state) return true;
    if (field.arm.value) return matches(question.a[Number(field.arm.value)], state);
    return question.a.some(function (cell) { return matches(cell, state); });
  }

  function passages(cell) {
    var made = element("ol", "evidence");
    cell.c.forEach(function (c) {
      var item = element("li", "", "cited: " + text(c[1]) + ": \u201c" + text(c[2]) + "\u201d");
      item.value = c[0];
      made.appendChild(item);
    });
    cell.p.forEach(function (p) {
      var item = element("li", "", text(p[1]) + ": " + text(p[2]));
      item.value = p[0];
      made.appendChild(item);
    });
    return made;
  }

  function scores(cell) {
    var made = element("ul", "scores");
    cell.v.forEach(function (value, n) {
      if (value === null && cell.w[n] < 0) return;
      var item = element("li");
      item.title = data.metrics[n][1];
      item.appendChild(element("b", "", data.metrics[n][0] + " " + (value === null ? "unscored:" : value.toFixed(2))));
      item.appendChild(document.createTextNode(" " + text(cell.w[n])));
      made.appendChild(item);
    });
    var cost = cell.m[0] + " ms, " + cell.m[1] + " + " + cell.m[2] + " tokens";
    if (cell.m[3]) cost += ", " + cell.m[3] + " passages dropped";
    made.appendChild(element("li", "", cost));
    return made;
  }

  var WORDS = { "1": "right", "0": "not right", "-1": "failed" };

  function card(cell, arm) {
    var made = element("section", "arm");
    var head = element("h4");
    head.appendChild(element("span", "", arm));
    var said = WORDS[cell.s] + (cell.b ? ", abstained" : "");
    head.appendChild(element("span", cell.s === 1 ? "yes-word" : "no-word", said));
    made.appendChild(head);
    made.appendChild(element("pre", "", text(cell.x)));
    if (cell.s !== -1) {
      made.appendChild(scores(cell));
      made.appendChild(passages(cell));
    }
    return made;
  }

  function fill(details, question) {
    if (details.filled) return;
    details.filled = true;
    var where = question.d.length ? " \u00b7 in " + question.d.map(text).join(", ") : "";
    details.appendChild(
      element("div", "wants", question.i + " \u00b7 wanted: " + (question.r || "none") + where)
    );
    var answers = element("div", "answers");
    question.a.forEach(function (cell, n) { answers.appendChild(card(cell, data.arms[n])); });
    details.appendChild(answers);
  }

  function row(question) {
    var details = element("details");
    var summary = element("summary");
    summary.appendChild(element("span", "q", question.q));
    summary.appendChild(element("span", "tag", question.k));
    var dots = element("span", "dots");
    var right = 0;
    question.a.forEach(function (cell, n) {
      var dot = element("span", "dot" + (cell.s === 1 ? " yes" : ""));
      dot.title = data.arms[n] + ": " + WORDS[cell.s];
      right += cell.s === 1 ? 1 : 0;
      dots.appendChild(dot);
    });
    dots.appendChild(document.createTextNode(" " + right + "/" + question.a.length));
    summary.appendChild(dots);
    details.appendChild(summary);
    details.addEventListener("toggle", function () { fill(details, question); });
    return details;
  }

  function page() {
    var part = document.createDocumentFragment();
    found.slice(shown, shown + PAGE).forEach(function (question) { part.appendChild(row(question)); });
    list.appendChild(part);
    shown = Math.min(found.length, shown + PAGE);
    more.hidden = shown >= found.length;
    count.textContent =
      found.length + " of " + data.questions.length + " questions" +
      (shown < found.length ? ", " + shown + " shown" : "");
  }

  function filter() {
    found = data.questions.filter(keep);
    shown = 0;
    list.textContent = "";
    page();
  }

  // Print what is folded up, but for the questions: there may be thousands.
  var folded = document.querySelectorAll("main > details");
  var closed = [];
  window.addEventListener("beforeprint", function () {
    closed = Array.prototype.filter.call(folded, function (part) { return !part.open; });
    closed.forEach(function (part) { part.open = true; });
  });
  window.addEventListener("afterprint", function () {
    closed.forEach(function (part) { part.open = false; });
  });

  Object.keys(field).forEach(function (name) { field[name].addEventListener("input", filter); });
  more.addEventListener("click", page);
  filter();
})();
