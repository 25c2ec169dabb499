// What the server does at this moment, and what it did in the last hours and days.

import { explain, get } from "./api.js";
import { lines } from "./chart.js";
import { choice, figures, h, notice, replace, table } from "./dom.js";
import { ago, capital, count, moment, moments, ms, percent, short, tick, usd, words } from "./format.js";

const WINDOWS = ["15m", "1h", "6h", "24h", "7d", "30d"];

function large({ routes }) {
  const all = routes.small + routes.large;
  if (!all) return { value: "–", label: "large model's share", detail: "no route is set up" };
  return {
    value: percent(routes.large / all),
    label: "large model's share",
    detail: `${count(routes.small)} small, ${count(routes.large)} large`,
  };
}

function saved({ cost }) {
  if (cost.priced_by === null) {
    return { value: "–", label: "saved", detail: "no prices to compare with" };
  }
  return { value: usd(cost.saved_usd), label: "saved", detail: `${usd(cost.large_usd)} spent on large` };
}

function basis({ cost }) {
  return cost.priced_by === null
    ? "Savings are counted against the prices of a hosted candidate (usd_per_million_input_tokens); none has any."
    : `Saved: what the inputs answered here would have cost at the prices of ${cost.priced_by}, before the cost of this machine.`;
}

function numbers(seen) {
  const minutes = (seen.until - seen.since) / 60_000;
  const failing = seen.requests ? seen.errors / seen.requests : NaN;
  return [figures([
    { value: count(seen.requests), label: "inputs", detail: `${short(seen.requests / Math.max(minutes, 1))} a minute` },
    { value: ms(seen.latency.p50_ms), label: "latency, median", detail: `p99 ${ms(seen.latency.p99_ms)}` },
    { value: ms(seen.latency.p95_ms), label: "latency, p95", detail: "of answered inputs" },
    { value: percent(failing), label: "errors", detail: `${count(seen.errors)} inputs`, tone: failing > 0.01 ? "bad" : "" },
    large(seen),
    saved(seen),
  ]), h("p", { class: "note" }, basis(seen))];
}

function charts(seen) {
  const span = seen.until - seen.since;
  const x = { name: "from", steps: moments, show: (at) => tick(at, span), long: moment, low: seen.since, high: seen.series.at(-1)?.at ?? seen.until };
  const series = (name, pick) => ({ name, points: seen.series.map((one) => [one.at, pick(one)]) });
  const minutes = seen.step_ms / 60_000;
  const every = minutes === 1 ? "minute" : minutes < 60 ? `${minutes} minutes` : `${minutes / 60} hours`;
  const traffic = [series("inputs", (one) => one.requests)];
  if (seen.routes.large) traffic.push(series("large model", (one) => one.large));
  traffic.push(series("errors", (one) => one.errors));
  return h("div", { class: "pair" },
    lines({
      title: `Inputs per ${every}`, x, series: traffic, y: { show: count, low: 0, least: 4 },
      summary: `${count(seen.requests)} inputs, ${count(seen.errors)} errors.`,
    }),
    lines({
      title: "Latency in milliseconds", x, y: { show: short, low: 0, least: 1 },
      series: [series("median", (one) => one.p50_ms), series("p95", (one) => one.p95_ms)],
      summary: `Median ${ms(seen.latency.p50_ms)}, 95th percentile ${ms(seen.latency.p95_ms)}.`,
    }));
}

function tables(seen) {
  const share = (list, caption, name) => {
    const all = list.reduce((sum, one) => sum + one.count, 0);
    return h("div", {}, table(caption, [name, { name: "inputs", n: true }, { name: "share", n: true }],
      list.map((one) => [one.name, count(one.count), percent(one.count / all)])));
  };
  return h("div", { class: "trio" },
    seen.labels.length ? share(seen.labels, "Answers by label", "label") : null,
    seen.versions.length ? share(seen.versions, "Inputs by version", "version") : null,
    seen.statuses.length ? share(seen.statuses, "Inputs by HTTP status", "status") : null);
}

const OFF = notice("", h("p", {}, "The watch is off. With ", h("code", {}, "watch.enabled = true"), " in ", h("code", {}, "sprat.toml"),
  " the server compares every request with a clean history and raises an alarm when the traffic has changed."));

function alarms(watch) {
  const standing = watch.alarms.filter((alarm) => alarm.standing !== false);
  if (watch.state === "off") return OFF.cloneNode(true);
  if (watch.state === "learning") {
    return notice("", h("p", {}, `The watch is learning: ${count(watch.requests)} of ${count(watch.history)} clean requests are seen.`));
  }
  if (watch.state === "quiet") {
    return notice("good", h("p", {}, `Quiet: ${watch.tests.length} tests over ${count(watch.requests)} requests, no alarm stands.`));
  }
  return [
    notice("bad", h("p", {}, `${standing.length === 1 ? "An alarm stands" : `${count(standing.length)} alarms stand`}: `,
      [...new Set(standing.map((alarm) => words(alarm.test)))].join(", "), ". ", h("a", { href: "#drift" }, "See the evidence"))),
    watch.alarms.length ? table("Last alarms", ["when", "test", "what"],
      watch.alarms.slice(-5).reverse().map((alarm) => [ago(alarm.at), capital(words(alarm.test)), alarm.what ?? ""])) : null,
  ];
}

/** Whether somebody reads something in there that must not vanish under their hands. */
function busy(node) {
  return node.querySelector("details[open]") !== null || node.contains(document.activeElement);
}

export default {
  id: "now",
  title: "Now",
  lead: "Traffic, latency, errors, routes and cost, from the traces of served requests.",
  every: 5000,
  build(body) {
    let chosen = "1h";
    const big = h("div", { class: "hold-figures" });
    const drawn = h("div", { class: "hold-charts" });
    const listed = h("div", {});
    const watched = h("div", { class: "hold-line" });
    const state = h("p", { class: "note" });
    let refresh = null;
    const choose = (name) => {
      chosen = name;
      refresh?.();
    };
    replace(body,
      h("div", { class: "bar" }, choice("Window", "window", WINDOWS, chosen, choose), state),
      big, h("div", { class: "part" }, h("h2", {}, "Alarms"), watched), drawn, listed);
    let last = "";
    refresh = async (signal) => {
      const [seen, watch] = await Promise.allSettled([
        get(`/admin/overview?window=${chosen}`, signal), get("/v1/watch", signal)]);
      if (signal?.aborted) return;
      if (seen.status === "rejected") {
        replace(big, explain(seen.reason));
        replace(drawn);
        replace(listed);
        last = "";
      } else {
        replace(big, numbers(seen.value));
        state.textContent = seen.value.complete ? `until ${moment(seen.value.until)}` : "older traces are still being counted";
        const text = JSON.stringify([chosen, seen.value.requests, seen.value.since, seen.value.series]);
        if (text !== last && !busy(drawn)) {
          last = text;
          replace(drawn, charts(seen.value));
          replace(listed, tables(seen.value));
        }
      }
      replace(watched, watch.status === "fulfilled" ? alarms(watch.value) : explain(watch.reason, OFF.cloneNode(true)));
    };
    return refresh;
  },
};
