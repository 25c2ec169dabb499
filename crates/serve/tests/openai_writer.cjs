// Drives a server of a model that writes with OpenAI's official client for JavaScript. Started by
// the test in writing.rs with the server's base URL; the model is tiny and random, so what it says
// is noise: what counts is that every feature of the protocol works.

const assert = require("node:assert");
const OpenAI = require("openai");

async function main() {
  const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
  const chat = client.chat.completions;
  const base = {
    model: "writer",
    messages: [{ role: "user", content: "hello" }],
    max_completion_tokens: 24,
  };
  const text = (answer, index = 0) => answer.choices[index].message.content;

  const models = await client.models.list();
  assert.deepStrictEqual(models.data.map((model) => model.id), ["writer"]);

  // Sampling.
  const greedy = await chat.create({ ...base, temperature: 0 });
  assert.strictEqual(text(greedy), text(await chat.create({ ...base, temperature: 0 })));
  const several = await chat.create({ ...base, seed: 1, n: 3, top_p: 0.95 });
  assert.strictEqual(new Set(several.choices.map((choice) => choice.message.content)).size, 3);
  await chat.create({ ...base, presence_penalty: 1, frequency_penalty: 1, logit_bias: { 65: -100 } });

  // Stop texts and limits.
  const stop = text(greedy).slice(4, 6);
  const stopped = await chat.create({ ...base, temperature: 0, stop: [stop] });
  assert.strictEqual(text(stopped), text(greedy).slice(0, text(greedy).indexOf(stop)));
  assert.strictEqual(stopped.choices[0].finish_reason, "stop");

  // Streams.
  const stream = await chat.create({
    ...base, temperature: 0, stream: true, stream_options: { include_usage: true },
  });
  let streamed = "";
  let usage = null;
  for await (const chunk of stream) {
    streamed += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.strictEqual(streamed, text(greedy));
  assert.strictEqual(usage.completion_tokens, greedy.usage.completion_tokens);

  // Scores.
  const scored = await chat.create({ ...base, logprobs: true, top_logprobs: 2 });
  assert(scored.choices[0].logprobs.content.every((token) => token.top_logprobs.length === 2));

  // Structured outputs.
  const schema = {
    type: "object",
    properties: { size: { enum: ["small", "large"] }, count: { type: "integer", minimum: 1, maximum: 9 } },
    required: ["size", "count"],
    additionalProperties: false,
  };
  const format = { type: "json_schema", json_schema: { name: "order", schema, strict: true } };
  const order = JSON.parse(text(await chat.create({ ...base, max_completion_tokens: 80, response_format: format })));
  assert(["small", "large"].includes(order.size) && order.count >= 1 && order.count <= 9);

  // Tools.
  const parameters = {
    type: "object", properties: { city: { enum: ["Rome", "Oslo"] } }, required: ["city"],
    additionalProperties: false,
  };
  const tools = [{ type: "function", function: { name: "weather", parameters } }];
  const called = await chat.create({ ...base, max_completion_tokens: 80, tools, tool_choice: "required" });
  assert.strictEqual(called.choices[0].finish_reason, "tool_calls");
  const call = called.choices[0].message.tool_calls[0];
  assert(["Rome", "Oslo"].includes(JSON.parse(call.function.arguments).city));

  // The older protocol.
  const old = { model: "writer", prompt: "ab", max_tokens: 8, temperature: 0 };
  const plain = await client.completions.create(old);
  const echo = await client.completions.create({ ...old, echo: true, logprobs: 2 });
  assert.strictEqual(echo.choices[0].text, "ab" + plain.choices[0].text);

  // Hanging up in the middle, and refusals that name the parameter.
  const left = await chat.create({ ...base, max_completion_tokens: 300, stream: true });
  for await (const _ of left) break;
  await assert.rejects(chat.create({ ...base, n: 99 }), (error) => error.param === "n");
  await assert.rejects(
    chat.create({ ...base, model: "other" }),
    (error) => error instanceof OpenAI.NotFoundError,
  );
  console.log("all checks passed");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
