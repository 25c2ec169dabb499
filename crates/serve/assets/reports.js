// The reports that the steps wrote, each in a sandbox of its own.

import { explain, get } from "./api.js";
import { h, notice, replace } from "./dom.js";
import { ago, bytes, capital, words } from "./format.js";

const ABOUT = {
  "data-check": "what the data gate found before any training",
  tune: "learning curves, early stopping, the recipe",
  shrink: "smaller variants, and whether the tuned skill suffered",
  bench: "every candidate on the same rows, with intervals",
  choose: "the verdict on the four factors, with its reasons",
  release: "the gate's evidence",
};

export default {
  id: "reports",
  title: "Reports",
  lead: "What the steps found: data, tuning, shrinking, benchmark, choice, release.",
  build(body) {
    const list = h("ul", { class: "reports" });
    const frame = h("div", { class: "frame" });
    const note = h("div", {});
    replace(body, note, list, frame);
    let open = "";
    const show = (report) => {
      open = report.name;
      for (const button of list.querySelectorAll("button")) {
        button.setAttribute("aria-pressed", String(button.dataset.name === open));
      }
      replace(frame,
        h("p", { class: "bar" }, h("strong", {}, capital(words(report.name))),
          h("a", { href: report.href, target: "_blank", rel: "noopener" }, "Open in a tab of its own")),
        h("iframe", { src: report.href, sandbox: "", title: `Report: ${words(report.name)}`, loading: "lazy" }));
    };
    return async (signal) => {
      try {
        const { reports } = await get("/admin/reports", signal);
        replace(note, reports.length ? null : notice("", h("p", {}, "No step has written a report yet. ",
          h("code", {}, "sprat up"), " writes one at each step, ", h("code", {}, "sprat bench"), " compares the candidates.")));
        replace(list, reports.map((report) => h("li", {},
          h("button", { type: "button", "data-name": report.name, "aria-pressed": String(report.name === open), onclick: () => show(report) },
            h("strong", {}, capital(words(report.name))),
            h("span", {}, ABOUT[report.name] ?? ""),
            h("small", {}, `${ago(report.modified)}, ${bytes(report.bytes)}`)))));
        if (!open && reports.length) show(reports.find((report) => report.name === "bench") ?? reports[0]);
      } catch (why) {
        if (why.name === "AbortError") throw why;
        replace(note, explain(why));
      }
    };
  },
};
