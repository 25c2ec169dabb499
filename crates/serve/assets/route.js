// The router: what its threshold buys, beside always asking one model, chance, and a perfect judge.

import { explain, get } from "./api.js";
import { lines } from "./chart.js";
import { facts, figures, h, notice, part, replace, table } from "./dom.js";
import { capital, count, percent, short, usd, words } from "./format.js";

const OFF = () => notice("", h("p", {}, "There is no route. ", h("code", {}, "[route]"), " in ", h("code", {}, "sprat.toml"),
  " names large models that answer what the small one is not sure of; ", h("code", {}, "sprat route fit"),
  " finds the threshold that keeps failures under a stated bound, and draws the curve."));

const number = (x) => (x !== null && typeof x === "object" ? x.estimate : x);

function chosen({ chosen, threshold, bound, policy }) {
  return figures([
    { value: short(threshold), label: "threshold", detail: `policy: ${words(policy ?? "–")}` },
    { value: percent(chosen?.share_large), label: "sent to a large model", detail: chosen ? "expected" : "not fitted" },
    { value: percent(number(chosen?.quality)), label: "quality", detail: "of all answers, expected" },
    { value: usd(chosen?.usd_per_1000), label: "per 1,000 requests", detail: "for large answers" },
    bound
      ? { value: `≤ ${percent(bound.alpha)}`, label: "failures among what stays small", detail: `with probability ${percent(1 - bound.delta, 0)}` }
      : { value: "none", label: "bound", detail: "the threshold is set by hand", tone: "warn" },
  ]);
}

function raised({ why, until }) {
  const end = until ? `until ${until}` : "until the alarm is acknowledged or the route is fitted anew";
  return `${capital(why)}, ${end}.`;
}

function curve(state) {
  const points = (list) => list.map((one) => (Array.isArray(one) ? one : [one.share_large, number(one.quality)])).sort((a, b) => a[0] - b[0]);
  const level = (q) => [[0, q], [1, q]];
  const series = [{ name: "this route", points: points(state.curve) }];
  if (state.random?.length) series.push({ name: "chance", points: points(state.random) });
  if (state.oracle?.length) series.push({ name: "perfect judge", points: points(state.oracle) });
  const known = (q) => Number.isFinite(number(q));
  if (known(state.always_small)) series.push({ name: "always small", points: level(number(state.always_small)) });
  if (known(state.always_large)) series.push({ name: "always large", points: level(number(state.always_large)) });
  const all = series.flatMap((one) => one.points.map((p) => p[1])).filter(Number.isFinite);
  const spot = state.chosen ? [{ name: "chosen", x: state.chosen.share_large, y: number(state.chosen.quality) }] : [];
  return lines({
    title: "Quality against the share of requests that a large model answers",
    summary: spot.length ? `The chosen point: ${percent(spot[0].x)} large, quality ${percent(spot[0].y)}.` : "",
    series, spots: spot, height: 300,
    x: { name: "large", low: 0, high: 1, show: (v) => percent(v, 0), long: (v) => `${percent(v)} large` },
    y: { low: Math.max(0, Math.min(...all) - 0.02), high: Math.min(1, Math.max(...all) + 0.02), show: (v) => percent(v) },
  });
}

function budget({ spent, limits }) {
  if (!spent) return null;
  const rows = ["hour", "day"].flatMap((window) => [
    ["US dollars", usd(spent[window]?.usd), limits?.[window]?.usd, usd],
    ["tokens", count(spent[window]?.tokens), limits?.[window]?.tokens, count],
  ].map(([unit, used, most, show]) => [`this ${window}, ${unit}`, used, Number.isFinite(most) ? show(most) : "no limit"]));
  return part("Budget", table("Spent on large answers since the server's start", ["window", { name: "spent", n: true }, { name: "limit", n: true }], rows));
}

function options({ curve }) {
  if (!curve.length) return null;
  const step = Math.max(1, Math.ceil(curve.length / 20));
  const rows = curve.filter((_, at) => at % step === 0).map((one) => [
    short(one.threshold), percent(one.share_large), percent(number(one.quality)), usd(one.usd_per_1000)]);
  return h("details", {}, h("summary", {}, "Other thresholds"),
    table("What other thresholds would give", [{ name: "threshold", n: true }, { name: "large", n: true }, { name: "quality", n: true }, { name: "per 1,000", n: true }], rows));
}

export default {
  id: "route",
  title: "Route",
  lead: "Which requests the small model keeps, what that costs, and how far the promise goes.",
  every: 15_000,
  build(body) {
    let last = "";
    return async (signal) => {
      try {
        const state = await get("/v1/route", signal);
        const text = JSON.stringify(state);
        if (text === last || body.querySelector("details[open]")) return;
        last = text;
        const extra = Object.entries(state.bound ?? {}).filter(([name, v]) => !["alpha", "delta"].includes(name) && (typeof v !== "object"));
        replace(body, state.raised ? notice("warn", h("p", {}, raised(state.raised))) : null,
          state.unfitted ? notice("warn", h("p", {}, capital(String(state.unfitted)))) : null, chosen(state),
          state.large_assumed ? h("p", { class: "note" }, "No large model was asked when this was fitted: its answers are taken for right.") : null, state.curve?.length
          ? [curve(state), options(state)]
          : notice("", h("p", {}, "The threshold was set by hand, so there is no curve. ", h("code", {}, "sprat route fit"), " draws it from graded requests.")),
          extra.length ? part("The bound", facts(extra.map(([name, v]) => [words(name), typeof v === "number" ? short(v) : String(v)]))) : null,
          budget(state));
      } catch (why) {
        if (why.name === "AbortError") throw why;
        last = "";
        replace(body, explain(why, OFF()));
      }
    };
  },
};
