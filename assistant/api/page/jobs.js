// Jobs: what goes on after its request was answered, and how far it is.

import { call, eventsOf, Problem, send } from "./client.js";
import { at, counted, make, problemBox } from "./element.js";

const ENDED = ["done", "failed"];
const lines = new Map(); // by the job's id: a job has one line, whoever began it

function when(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

function tally(result) {
  const counts = ["added", "updated", "unchanged"].filter((k) => result[k]).map((k) => `${result[k]} ${k}`);
  return counts.length ? `${counts.join(", ")}: ready to be asked about.` : "";
}

// One line of the list, which follows its job.
export class JobLine {
  constructor(title) {
    this.element = make("li");
    this.title = make("span", title, "name");
    this.bar = make("progress");
    this.bar.setAttribute("aria-label", title);
    this.words = make("div", "Sending …", "hint");
    this.words.setAttribute("role", "status");
    this.element.append(this.title, this.bar, this.words);
  }

  // Follows the job to its end; returns it, or null where the connection was lost.
  async follow(id) {
    const twin = lines.get(id);
    if (twin && twin !== this) twin.element.remove(); // the list was faster
    lines.set(id, this);
    try {
      const response = await send(`/api/jobs/${encodeURIComponent(id)}/events`);
      for await (const [, job] of eventsOf(response)) {
        this.show(job);
        if (ENDED.includes(job.status)) return job;
      }
      throw new Problem({ message: "The connection was lost.", hint: "Reload the page to see how far it is." });
    } catch (error) {
      this.fail(error);
      return null;
    }
  }

  fail(error) {
    this.bar.remove();
    this.words.replaceChildren(problemBox(error));
  }

  show(job) {
    const { done, total, current } = job.progress;
    if (!ENDED.includes(job.status)) {
      this.bar.max = total || 1;
      this.bar.value = done;
      const at = current ? `, at ${current}` : "";
      this.words.textContent = job.status === "queued" ? "Waiting for its turn …" : `${done} of ${total}${at} …`;
      return;
    }
    this.bar.remove();
    const result = job.result || {};
    const said = result.report ? `Report ${result.report} is ready.` : tally(result);
    const failed = (result.failed || []).map((f) => problemBox({ message: f.source, hint: f.error }));
    if (job.status === "failed" && failed.length === 0) {
      const why = job.error === "interrupted" ? "It was interrupted. Start it again." : job.error;
      failed.push(problemBox({ message: "It failed.", hint: why }));
    }
    this.words.replaceChildren(...(said ? [said] : []), ...failed);
  }
}

// The first few names say more than a number.
export function named(files, total) {
  const first = files.slice(0, 3).join(", ");
  if (!first) return counted(total, "file");
  return total > 3 ? `${first} and ${total - 3} more` : first;
}

function titleOf(job) {
  const result = job.result || {};
  if (result.report) return `Evaluation, ${when(job.created)}`;
  const files = (result.files || []).map((file) => file.source);
  return `${named(files, job.progress.total)} into ${job.collection}, ${when(job.created)}`;
}

// Lists the last jobs, and goes on following those that run. False where the key may not.
export async function showJobs(onEnd) {
  let jobs;
  try {
    ({ jobs } = await call("/api/jobs?last=5"));
  } catch (error) {
    if (error.status !== 403) throw error;
    return false;
  }
  for (const job of jobs) {
    if (lines.has(job.id)) continue;
    const line = new JobLine(titleOf(job));
    lines.set(job.id, line);
    line.show(job);
    at("jobs").append(line.element);
    if (!ENDED.includes(job.status)) line.follow(job.id).then(onEnd);
  }
  at("jobs-part").hidden = at("jobs").children.length === 0;
  return true;
}
