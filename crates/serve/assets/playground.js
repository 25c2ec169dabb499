// A text in, an answer out: labels with their probabilities, or what the model writes as it writes it.

import { explain, get, post, stream } from "./api.js";
import { share } from "./chart.js";
import { facts, h, notice, replace, say, table } from "./dom.js";
import { count, ms, percent, short } from "./format.js";

const chooses = (model) => model.abilities.includes("classify");

function answerer(route, model, version) {
  if (!route) return [["answered by", `${model} (${version})`]];
  return [
    ["answered by", `${route.model}, the ${route.by} side of the route`],
    ["why", route.why],
    ["confidence", Number.isFinite(route.confidence) ? percent(route.confidence) : null],
    ["threshold", Number.isFinite(route.threshold) ? short(route.threshold) : null],
  ];
}

async function classify(model, text, signal) {
  const begun = performance.now();
  const answer = await post("/v1/classify", { model: model.id, input: text }, { signal });
  const took = performance.now() - begun;
  const [one] = answer.data;
  const rows = one.scores.map((score, at) => [
    score.label === one.label ? h("strong", {}, score.label) : score.label,
    share(score.score, at === 0 ? one.route?.threshold : undefined), percent(score.score)]);
  const sure = Number.isFinite(one.confidence) ? `, ${percent(one.confidence)} sure` : "";
  say(one.abstained ? `Abstained${sure}.` : `${one.label}${sure}.`);
  return [
    one.abstained
      ? h("p", { class: "answer" }, "Abstained: no label is likely enough.")
      : h("p", { class: "answer" }, h("strong", {}, one.label), sure),
    one.truncated ? notice("warn", h("p", {}, "The end of the text did not fit into the model and was not read.")) : null,
    rows.length ? table("Probabilities", ["label", "", { name: "probability", n: true }], rows) : null,
    facts([...answerer(one.route, answer.model, answer.version), ["tokens read", count(answer.usage.prompt_tokens)], ["round trip", ms(took)]]),
  ];
}

/** JSON is set out in lines; other text stays as it is. */
function laid(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

async function write(model, text, schema, put, signal) {
  const begun = performance.now();
  const written = h("pre", { class: "written", tabindex: "0", "aria-label": "What the model writes" });
  const about = h("div", {});
  put([written, about]);
  const body = { model: model.id, messages: [{ role: "user", content: text }], stream: true, stream_options: { include_usage: true } };
  if (schema) body.response_format = { type: "json_schema", json_schema: { name: "answer", schema } };
  let [whole, first, usage, sprat, finish] = ["", 0, null, null, ""];
  await stream("/v1/chat/completions", body, (event) => {
    const [choice] = event.choices ?? [];
    if (choice?.delta?.content) {
      first ||= performance.now() - begun;
      whole += choice.delta.content;
      written.textContent = whole;
    }
    finish = choice?.finish_reason ?? finish;
    usage = event.usage ?? usage;
    sprat = event.sprat ?? sprat;
  }, signal);
  written.textContent = laid(whole);
  const took = performance.now() - begun;
  say("The answer is complete.");
  replace(about, facts([
    ...answerer(sprat?.route, model.id, model.version),
    ["constraint", sprat?.constraint ? { exact: "held token by token", validated: "checked on the whole answer" }[sprat.constraint] ?? sprat.constraint : null],
    ["ended by", finish],
    ["tokens", usage ? `${count(usage.prompt_tokens)} read, ${count(usage.completion_tokens)} written` : null],
    ["first piece, whole", first ? `${ms(first)}, ${ms(took)}` : ms(took)],
    ["speed", usage && took > first && usage.completion_tokens > 1 ? `${short((usage.completion_tokens - 1) / ((took - first) / 1000))} tokens/s` : null],
  ]));
}

export default {
  id: "playground",
  title: "Playground",
  lead: "Ask a served model. What you send leaves a trace like every other request.",
  build(body) {
    let models = [];
    const select = h("select", { id: "model" });
    const text = h("textarea", { id: "text", rows: "5", spellcheck: "false", placeholder: "A text as your users write it" });
    const schema = h("textarea", { id: "schema", rows: "4", spellcheck: "false", placeholder: '{"type": "object", …}' });
    const wanted = h("details", { class: "wanted" }, h("summary", {}, "Answer as JSON under a schema"), h("label", { for: "schema", class: "unseen" }, "JSON Schema"), schema);
    const ask = h("button", { type: "submit", class: "main", id: "ask" }, "Ask");
    const stop = h("button", { type: "button", class: "quiet", hidden: true }, "Stop");
    const answer = h("div", { id: "answer" });
    const trouble = h("div", {});
    const form = h("form", { class: "ask" },
      h("div", { class: "bar" }, h("label", { for: "model" }, "Model "), select),
      h("label", { for: "text" }, "Text"), text, wanted,
      h("div", { class: "actions start" }, ask, stop, h("span", { class: "note" }, h("kbd", {}, "Ctrl"), " ", h("kbd", {}, "Enter"))));
    replace(body, trouble, form, answer);

    const chosen = () => models.find((model) => model.id === select.value);
    const fit = () => {
      const model = chosen();
      wanted.hidden = !model || chooses(model);
    };
    select.addEventListener("change", fit);
    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    let running = null;
    stop.addEventListener("click", () => running?.abort());
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const model = chosen();
      if (!model || !text.value.trim()) {
        text.focus();
        return;
      }
      running?.abort();
      running = new AbortController();
      const { signal } = running;
      ask.disabled = true;
      stop.hidden = chooses(model);
      try {
        if (chooses(model)) {
          replace(answer, await classify(model, text.value, signal));
        } else {
          let parsed = null;
          if (wanted.open && schema.value.trim()) {
            try {
              parsed = JSON.parse(schema.value);
            } catch (why) {
              replace(answer, notice("bad", h("p", {}, `The schema is not JSON: ${why.message}`)));
              return;
            }
          }
          await write(model, text.value, parsed, (nodes) => replace(answer, nodes), signal);
        }
      } catch (why) {
        if (why.name === "AbortError") say("Stopped.");
        else answer.append(explain(why));
      } finally {
        ask.disabled = false;
        stop.hidden = true;
      }
    });

    return async (signal) => {
      try {
        const { data } = await get("/v1/models", signal);
        const before = select.value;
        models = data.filter((model) => model.abilities.includes("chat"));
        replace(select, models.map((model) => h("option", { value: model.id, selected: model.id === before }, `${model.id} (${model.version})`)));
        replace(trouble, models.length ? null : notice("", h("p", {}, "No model is served at present. Release and promote one, or start ", h("code", {}, "sprat serve --model"), ".")));
        form.hidden = !models.length;
        fit();
      } catch (why) {
        if (why.name === "AbortError") throw why;
        form.hidden = true;
        replace(trouble, explain(why));
      }
    };
  },
};
