// The watch: what each test has against the traffic being what it was, and the estimate of quality.

import { explain, get } from "./api.js";
import { lines } from "./chart.js";
import { figures, h, notice, part, replace, table } from "./dom.js";
import { capital, count, interval, moment, percent, short, words } from "./format.js";

const OFF = () => notice("", h("p", {}, "The watch is off. Set ", h("code", {}, "watch.enabled = true"), " in ", h("code", {}, "sprat.toml"),
  " and start the server again: it then compares each request with a clean history. ", h("code", {}, "sprat watch"), " does the same once, from the traces."));

const RANK = { alarm: 0, quiet: 1, blind: 2 };

function state(watch) {
  const rate = `at most one false alarm in ${count(watch.false_alarm_every)} clean requests, all tests together`;
  if (watch.state === "alarm") return notice("bad", h("p", {}, `At alarm. The tests promise ${rate}.`));
  if (watch.state === "learning") return notice("", h("p", {}, `Learning: ${count(watch.requests)} of ${count(watch.history)} clean requests are seen; then the tests begin, with ${rate}.`));
  return notice("good", h("p", {}, `Quiet after ${count(watch.requests)} requests: ${rate}.`));
}

function accuracy({ accuracy, labelled }) {
  const list = [];
  if (accuracy) list.push({ value: interval(accuracy), label: "accuracy, without labels", detail: `of the last ${count(accuracy.n)} requests` });
  if (labelled) {
    const detail = `${count(labelled.n)} of ${count(labelled.asked)} asked`;
    const release = Number.isFinite(labelled.release) ? `; the release had ${percent(labelled.release)}` : "";
    list.push({
      value: Number.isFinite(labelled.estimate) ? interval(labelled) : "not yet",
      label: "accuracy, from labels", detail: detail + release, tone: labelled.below ? "bad" : "",
    });
  }
  if (!list.length) return null;
  return part("Quality", figures(list), labelled?.below ? notice("bad", h("p", {}, "The labels show that the accuracy is below the release's.")) : null,
    accuracy?.method ? h("p", { class: "note" }, `Without labels: ${accuracy.method}.`) : null,
    h("p", {}, h("a", { href: "#queue" }, "Label requests")));
}

/** Evidence grows by factors, so it is drawn by its powers of ten where the threshold is far up. */
function chart(test) {
  const steep = test.threshold > 100;
  const put = (e) => (steep ? Math.log10(Math.max(e, 1)) : e);
  const show = (v) => (steep ? short(10 ** v) : short(v));
  return lines({
    title: capital(words(test.name)),
    summary: `${test.standing}; evidence ${short(test.evidence)} of ${short(test.threshold)}.`,
    series: [{ name: "evidence", points: test.series.map(([n, e]) => [n, put(e)]) }],
    levels: [{ name: `alarm at ${short(test.threshold)}`, y: put(test.threshold) }],
    height: 130,
    x: { name: "request", show: count },
    y: { low: 0, show },
  });
}

function tests(watch) {
  const sorted = [...watch.tests].sort((a, b) => (RANK[a.standing] ?? 1) - (RANK[b.standing] ?? 1));
  const standing = (name) => h("span", { class: `tag ${name === "alarm" ? "bad" : name === "quiet" ? "good" : ""}` }, name);
  const drawn = sorted.filter((test) => test.series?.length);
  return [
    table("Tests", ["test", "stands at", { name: "evidence", n: true }, { name: "alarm at", n: true }, "why"],
      sorted.map((test) => [words(test.name), standing(test.standing), short(test.evidence), short(test.threshold), test.why ?? ""])),
    drawn.length ? part("Evidence over requests", h("div", { class: "grid" }, drawn.map(chart))) : null,
  ];
}

function canary({ canary }) {
  return canary ? notice(canary.stands ? "" : "warn", h("p", {}, `On trial: ${canary.what}.`)) : null;
}

function notes({ notes }) {
  return notes?.length ? h("ul", { class: "note" }, notes.map((note) => h("li", {}, String(note)))) : null;
}

function alarms({ alarms }) {
  if (!alarms?.length) return null;
  const act = (one) => [one.action ?? one.name, one.outcome && words(one.outcome), one.detail].filter(Boolean).join(": ");
  return part("Alarms", table("The last one first", ["when", "test", "stands", "what", "done about it"],
    [...alarms].reverse().map((one) => [moment(one.at), words(one.test), one.standing === false ? "no" : "yes", one.what ?? "", (one.actions ?? []).map(act).join("; ") || "–"])));
}

export default {
  id: "drift",
  title: "Drift",
  lead: "Whether requests and answers are still what they were when the release was measured.",
  every: 10_000,
  build(body) {
    let last = "";
    return async (signal) => {
      try {
        const watch = await get("/v1/watch", signal);
        const text = JSON.stringify(watch);
        if (text === last || body.querySelector("details[open]") || body.contains(document.activeElement)) return;
        last = text;
        if (watch.state === "off") replace(body, OFF());
        else replace(body, state(watch), canary(watch), notes(watch), alarms(watch), tests(watch), accuracy(watch));
      } catch (why) {
        if (why.name === "AbortError") throw why;
        last = "";
        replace(body, explain(why, OFF()));
      }
    };
  },
};
