// The labelling queue: a few requests whose labels say most, one at a time, by keyboard.

import { explain, get, post } from "./api.js";
import { share } from "./chart.js";
import { h, notice, replace, say } from "./dom.js";
import { ago, capital, count, percent } from "./format.js";

const OFF = () => notice("", h("p", {}, "There is no labelling queue. Set ", h("code", {}, "watch.enabled = true"), " and ",
  h("code", {}, 'serve.trace_text = "keep"'), " in ", h("code", {}, "sprat.toml"),
  ": the server then proposes the requests whose labels would say most. ", h("code", {}, "sprat label"), " asks for them in a terminal."));

const pair = (score) => (Array.isArray(score) ? score : [score.label, score.score]);

export default {
  id: "queue",
  title: "Label",
  lead: "Requests whose labels would say most about the quality at present, chosen within a budget.",
  build(body) {
    let labels = [];
    let queue = [];
    let done = 0;
    const skipped = new Set();
    const card = h("div", { id: "card", class: "card", tabindex: "0", "aria-label": "The request to label" });
    const hint = h("p", { class: "note" }, h("kbd", {}, "→"), " right  ", h("kbd", {}, "←"), " wrong, then choose  ", h("kbd", {}, "↓"), " skip. They work while the request is focused.");
    const trouble = h("div", {});
    replace(body, trouble, card, hint);
    hint.hidden = true;

    const next = (text) => {
      queue.shift();
      if (text) say(text);
      draw();
      card.focus();
    };
    const send = async (verdict, label) => {
      const [one] = queue;
      if (!one) return;
      try {
        await post("/v1/feedback", { id: one.id, verdict, ...(label ? { label } : {}), by: "page" });
        done += 1;
        replace(trouble);
        next(verdict === "right" ? `Kept: ${one.label} is right.` : `Kept: ${label ?? `not ${one.label}`}.`);
      } catch (why) {
        replace(trouble, explain(why));
      }
    };
    const wrong = () => {
      const select = card.querySelector("select");
      if (!select) return send("wrong");
      card.querySelector(".correction").hidden = false;
      select.focus();
    };
    const skip = () => {
      if (!queue.length) return;
      skipped.add(queue[0].id);
      next("Skipped.");
    };

    function correction(one) {
      const others = labels.filter((label) => label !== one.label);
      if (!others.length) return null;
      const select = h("select", { id: "right-label" }, h("option", { value: "" }, "none of these"), others.map((label) => h("option", { value: label }, label)));
      const keep = (event) => {
        event.preventDefault();
        send("wrong", select.value || undefined);
      };
      return h("form", { class: "correction bar", hidden: true, onsubmit: keep },
        h("label", { for: "right-label" }, "It should be "), select, h("button", { type: "submit", class: "main" }, "Keep"));
    }

    function draw() {
      const [one] = queue;
      hint.hidden = !one;
      if (!one) {
        replace(card, h("p", {}, done ? `Done: ${count(done)} labelled. ` : "Nothing is worth a label at present. "),
          h("button", { type: "button", onclick: () => refresh() }, "Look again"));
        return;
      }
      const scores = (one.scores ?? []).map(pair).slice(0, 5);
      replace(card,
        h("p", { class: "note" }, `${count(queue.length)} waiting, ${count(done)} labelled`),
        one.text ? h("blockquote", {}, one.text) : h("p", { class: "empty" }, "The text was not kept: ", h("code", {}, 'serve.trace_text = "keep"'), " keeps it."),
        h("p", {}, "answered ", h("strong", {}, one.label ?? "nothing"), Number.isFinite(one.confidence) ? `, ${percent(one.confidence)} sure` : "", one.at ? `, ${ago(one.at)}` : ""),
        one.why ? h("p", { class: "note" }, capital(String(one.why))) : null,
        scores.length ? h("div", { class: "scores" }, scores.map(([label, score]) => h("div", {}, h("span", {}, label), share(score), h("span", { class: "n" }, percent(score))))) : null,
        h("div", { class: "actions start" },
          h("button", { type: "button", class: "main", "data-do": "right", onclick: () => send("right") }, "Right"),
          h("button", { type: "button", "data-do": "wrong", onclick: wrong }, "Wrong"),
          h("button", { type: "button", class: "quiet", "data-do": "skip", onclick: skip }, "Skip")),
        correction(one));
    }

    card.addEventListener("keydown", (event) => {
      if (event.target.matches("select, input") || event.altKey || event.ctrlKey || event.metaKey) return;
      const act = { ArrowRight: () => send("right"), ArrowLeft: wrong, ArrowDown: skip }[event.key];
      if (!act || !queue.length) return;
      event.preventDefault();
      act();
    });

    async function refresh(signal) {
      try {
        const found = await get("/v1/labels?limit=20", signal);
        labels = found.labels ?? [];
        // What stands open stays where it is.
        const waiting = found.queue.filter((one) => !skipped.has(one.id));
        if (queue.length) queue = [queue[0], ...waiting.filter((one) => one.id !== queue[0].id)];
        else queue = waiting;
        replace(trouble);
        card.hidden = false;
        draw();
      } catch (why) {
        if (why.name === "AbortError") throw why;
        card.hidden = true;
        hint.hidden = true;
        replace(trouble, explain(why, OFF()));
      }
    }
    return refresh;
  },
};
