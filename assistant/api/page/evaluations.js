// Evaluations: reports to read, and starting one.

import { call, post, Problem, send } from "./client.js";
import { at, button, counted, make, problemBox } from "./element.js";
import { JobLine } from "./jobs.js";

function reportItem(report) {
  const item = make("li");
  const facts = [report.created, counted(report.questions, "question"), report.arms.join(", "), report.adapter || "no adapter"];
  const open = button(report.verdict, "name", () => openReport(report));
  item.append(open, make("small", facts.join(" · ")), make("p", report.reasons[0] || ""));
  return item;
}

export async function showReports() {
  const { evaluations } = await call("/api/evaluations");
  at("reports").replaceChildren(...evaluations.map(reportItem));
  at("no-reports").hidden = evaluations.length > 0;
}

// A report has a script and words from everywhere, so it gets a sandbox: no origin, no network.
async function openReport(report) {
  try {
    const html = await (await send(`/evaluations/${encodeURIComponent(report.id)}`)).text();
    const frame = make("iframe");
    frame.id = "report-frame";
    frame.title = `Evaluation report of ${report.created}`;
    frame.setAttribute("sandbox", "allow-scripts");
    frame.addEventListener("load", () => frame.contentWindow.postMessage(html, "*"), { once: true });
    frame.src = "/page/frame.html";
    at("report-frame").replaceWith(frame);
    at("report-title").textContent = `${report.verdict}, ${report.created}`;
    at("shelf").hidden = true;
    at("report").hidden = false;
    at("report-title").focus();
  } catch (error) {
    at("trouble").replaceChildren(problemBox(error));
  }
}

function closeReport() {
  at("report").hidden = true;
  at("shelf").hidden = false;
  at("evaluations-title").focus();
}

async function questionsIn(file) {
  const questions = [];
  (await file.text()).split("\n").forEach((line, n) => {
    if (!line.trim()) return;
    try {
      questions.push(JSON.parse(line));
    } catch {
      throw new Problem({ message: `Line ${n + 1} of ${file.name} is not JSON.`, hint: "Each line is one question: {\"id\": ..., \"question\": ...}" });
    }
  });
  return questions;
}

async function start() {
  const file = at("questions").files[0];
  const line = new JobLine(file.name);
  at("evaluation-jobs").prepend(line.element);
  try {
    const boxes = [...document.querySelectorAll("input[name=arm]")];
    const body = { questions: await questionsIn(file) };
    // All of them are not named: then what this workspace cannot carry out is left out.
    if (!boxes.every((box) => box.checked)) body.arms = boxes.filter((box) => box.checked).map((box) => box.value);
    if (at("collection").value) body.collection = at("collection").value;
    if (at("limit").value) body.limit = Number(at("limit").value);
    const { job_id: id } = await (await post("/api/evaluations", body)).json();
    const job = await line.follow(id);
    if (job && job.status === "done") await showReports();
  } catch (error) {
    line.fail(error);
  }
}

at("report-back").addEventListener("click", closeReport);
at("report").addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeReport();
});
at("evaluate").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
