// Versions: what is released, what stands behind each, what differs, and the way back.

import { explain, get } from "./api.js";
import { whisker } from "./chart.js";
import { facts, h, notice, part, replace, say, table } from "./dom.js";
import { bytes, capital, count, digest, interval, moment, short, value, words } from "./format.js";
import { promote, rollback } from "./moves.js";

/** The scale on which all versions' intervals of a figure are drawn. */
function scale(versions, name) {
  const found = versions.map((version) => version.metrics?.[name]).filter(Boolean);
  const low = Math.min(...found.map((one) => one.low));
  const high = Math.max(...found.map((one) => one.high));
  const room = Math.max((high - low) * 0.1, 0.005);
  return [Math.max(0, low - room), Math.min(1, high + room)];
}

/** The figure that stands for a version in lists. */
function headline(versions) {
  const names = versions.flatMap((version) => Object.keys(version.metrics ?? {})).filter((name) => name !== "rows");
  return names.includes("accuracy") ? "accuracy" : names[0];
}

function standing(state, act) {
  if (!state.aliases.length) {
    return notice("", h("p", {}, "No alias is set: nothing is served by name yet. Promote a version below, or run ",
      h("code", {}, "sprat promote latest"), "."));
  }
  return h("ul", { class: "aliases" }, state.aliases.map((alias) => h("li", {},
    h("span", {}, h("strong", {}, alias.name), ` → v${alias.version}`),
    h("small", {}, `since ${moment(alias.moved)}, move ${alias.revision}`),
    h("button", { type: "button", "data-alias": alias.name, onclick: () => act.rollback(alias) }, "Roll back…"))));
}

function versions(state, act, chosen) {
  const newest = [...state.versions].reverse();
  const name = headline(newest);
  const [low, high] = scale(newest, name);
  const rows = newest.map((version) => [
    h("button", { type: "button", class: "link", "aria-pressed": String(version.number === chosen), onclick: () => act.show(version.number) }, `v${version.number}`),
    version.aliases.join(", ") || "–",
    moment(version.created),
    name ? h("span", { class: "whiskered" }, interval(version.metrics?.[name]), whisker(version.metrics?.[name], low, high)) : "–",
    version.variant ?? "–",
    bytes(version.bytes),
    h("button", { type: "button", "data-version": version.number, onclick: () => act.promote(version) }, "Promote…"),
  ]);
  return table("Versions", ["version", "aliases", "released", name ? `test ${words(name)} [95%]` : "figures", "variant", { name: "size", n: true }, ""], rows,
    `The sealed test part was opened ${count(state.test_openings)} ${state.test_openings === 1 ? "time" : "times"}; every opening is on record.`);
}

function lineage(ancestors, version) {
  const chain = [`v${version.number}`, ...ancestors.map((one) => (one.version ? `v${one.version.number}` : `${digest(one.digest)} (not here)`))];
  return `${chain.join(" ← ")} ← ${version.content.base.reference}`;
}

function measured(version) {
  const rows = [];
  for (const [name, figure] of Object.entries(version.content.metrics?.test ?? {})) {
    if (figure && typeof figure === "object" && "estimate" in figure) {
      rows.push([words(name), h("span", { class: "whiskered" }, interval(figure), whisker(figure, 0, 1))]);
    }
  }
  return rows.length ? table("On the sealed test part", ["figure", "estimate [95%]"], rows,
    `${value(version.content.metrics?.test?.rows)} rows`) : null;
}

function details({ version, lineage: ancestors }, act) {
  const { content } = version;
  const files = Object.entries(content.artefact);
  return part(`v${version.number}`,
    facts([
      ["digest", h("code", {}, digest(version.digest))],
      ["released", `${moment(version.created)} by ${version.who}`],
      ["note", version.note],
      ["lineage", lineage(ancestors, version)],
      ["data, split", h("code", {}, `${digest(content.data)}, ${digest(content.split)}`)],
      ["code", content.code],
    ]),
    h("p", {}, h("button", { type: "button", "data-promote": version.number, onclick: () => act.promote(version) }, `Promote v${version.number}…`)),
    measured(version),
    h("details", {}, h("summary", {}, `${files.length} files`),
      table("Artefact", ["file", { name: "size", n: true }, "digest"],
        files.map(([name, file]) => [name, bytes(file.bytes), h("code", {}, digest(file.digest))]))));
}

function changes(title, list) {
  if (!list.length) return null;
  const plain = list.filter((change) => !change.path.includes("per_class"));
  const shown = plain.slice(0, 40);
  const rest = list.length - shown.length;
  return table(title, ["what", "before", "after", { name: "change", n: true }],
    shown.map((change) => [change.path, value(change.from), value(change.to),
      Number.isFinite(change.delta) ? `${change.delta > 0 ? "+" : ""}${short(change.delta)}` : ""]),
    rest > 0 ? `and ${rest} more; \`sprat diff --json\` lists all` : null);
}

function difference({ from, to, diff }) {
  const parts = [
    changes("Model", diff.model), changes("Data", diff.data), changes("Settings", diff.settings),
    changes("Metrics", diff.metrics),
    diff.files.length ? table("Files", ["file", "before", "after"], diff.files.map((file) => [
      file.path, ...[file.from, file.to].map((one) => (one ? `${digest(one.digest)} ${bytes(one.bytes)}` : "–"))])) : null,
  ].filter(Boolean);
  return [h("p", {}, `${from} → ${to}`), parts.length ? parts : h("p", { class: "empty" }, "Nothing differs.")];
}

function comparing(state) {
  if (state.versions.length < 2) return null;
  const newest = [...state.versions].reverse();
  const pick = (id, at) => h("select", { id }, newest.map((version, n) =>
    h("option", { value: `v${version.number}`, selected: n === at }, `v${version.number}${version.aliases.length ? ` (${version.aliases.join(", ")})` : ""}`)));
  const [from, to, found] = [pick("diff-from", 1), pick("diff-to", 0), h("div", { id: "diff" })];
  const compare = async () => {
    try {
      replace(found, difference(await get(`/admin/diff?from=${from.value}&to=${to.value}`)));
      say(`Compared ${from.value} with ${to.value}.`);
    } catch (why) {
      replace(found, explain(why));
    }
  };
  return part("Compare two",
    h("div", { class: "bar" },
      h("label", { for: "diff-from" }, "from "), from, h("label", { for: "diff-to" }, "to "), to,
      h("button", { type: "button", id: "compare", onclick: compare }, "Compare")), found);
}

function history(state) {
  const moves = [...state.moves].reverse();
  if (!moves.length) return null;
  return part("Where the aliases stood", table("Moves, the last one first", ["when", "alias", "what", "from", "to", "who", "why"],
    moves.map((move) => [moment(move.at), move.alias, capital(move.kind), move.from ? `v${move.from}` : "–", `v${move.to}`, move.who, move.why || "–"])));
}

export default {
  id: "releases",
  title: "Releases",
  lead: "Immutable versions with their lineage and figures, and the aliases that point at them.",
  build(body) {
    let chosen = 0;
    let act = null;
    const [top, list, detail, diff, past] = Array.from({ length: 5 }, () => h("div", {}));
    replace(body, top, list, detail, diff, past);
    const show = async (number) => {
      chosen = number;
      try {
        replace(detail, details(await get(`/admin/releases/v${number}`), act));
        for (const button of list.querySelectorAll("button.link")) {
          button.setAttribute("aria-pressed", String(button.textContent === `v${number}`));
        }
      } catch (why) {
        replace(detail, explain(why));
      }
    };
    const refresh = async (signal) => {
      try {
        const state = await get("/admin/releases", signal);
        act = {
          show,
          promote: (version) => promote(state, version, refresh),
          rollback: (alias) => rollback(state, alias, refresh),
        };
        replace(top, standing(state, act));
        replace(list, state.versions.length ? versions(state, act, chosen) : notice("", h("p", {},
          "Nothing is released yet. ", h("code", {}, "sprat release"), " releases what was tuned, if it passes the gate.")));
        replace(diff, comparing(state));
        replace(past, history(state));
        if (state.versions.length && !state.versions.some((version) => version.number === chosen)) {
          const served = state.aliases.find((alias) => alias.name === state.alias)?.version;
          await show(served ?? state.versions.at(-1).number);
        }
      } catch (why) {
        if (why.name === "AbortError") throw why;
        replace(top, explain(why));
      }
    };
    return refresh;
  },
};
