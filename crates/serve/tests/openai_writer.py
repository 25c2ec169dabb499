"""Drives a server of a model that writes with OpenAI's official client. Started by the test in
writing.rs with the server's base URL; the model is tiny and random, so what it says is noise:
what counts is that every feature of the protocol works."""

import json
import sys

import openai
import pydantic


def main() -> None:
    client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
    user = [{"role": "user", "content": "hello"}]
    base = {"model": "writer", "messages": user, "max_completion_tokens": 24}

    models = client.models.list()
    assert [model.id for model in models] == ["writer"], models

    # Sampling: greedy repeats, a seed repeats, several answers differ.
    greedy = [client.chat.completions.create(**base, temperature=0) for _ in range(2)]
    assert greedy[0].choices[0].message.content == greedy[1].choices[0].message.content
    seeded = [client.chat.completions.create(**base, seed=7, top_p=0.9) for _ in range(2)]
    assert seeded[0].choices[0].message.content == seeded[1].choices[0].message.content
    several = client.chat.completions.create(**base, n=3, seed=1)
    assert len({choice.message.content for choice in several.choices}) == 3
    assert several.usage.completion_tokens <= 72
    assert several.usage.prompt_tokens_details.cached_tokens is not None

    # Penalties and biases.
    biased = client.chat.completions.create(**base, temperature=0, logit_bias={"65": 100})
    assert len(set(biased.choices[0].message.content)) == 1, biased
    client.chat.completions.create(**base, presence_penalty=1, frequency_penalty=0.5)
    client.chat.completions.create(**base, extra_body={"top_k": 5, "min_p": 0.1})

    # Stop texts.
    text = greedy[0].choices[0].message.content
    stop = text[4:6]
    stopped = client.chat.completions.create(**base, temperature=0, stop=[stop])
    assert stopped.choices[0].message.content == text[: text.index(stop)], (text, stopped)
    assert stopped.choices[0].finish_reason == "stop"

    # Streams, with usage and with several answers.
    chunks = list(
        client.chat.completions.create(
            **base, temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == text
    assert chunks[-1].usage.completion_tokens > 0
    texts = ["", ""]
    for chunk in client.chat.completions.create(**base, seed=1, n=2, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [choice.message.content for choice in several.choices[:2]]

    # Scores.
    scored = client.chat.completions.create(**base, logprobs=True, top_logprobs=3)
    content = scored.choices[0].logprobs.content
    assert all(len(token.top_logprobs) == 3 for token in content)

    # Structured outputs, whole and streamed.
    class Order(pydantic.BaseModel):
        size: str = pydantic.Field(pattern="^(small|large)$")
        count: int = pydantic.Field(ge=1, le=9)

    room = {**base, "max_completion_tokens": 80}
    parsed = client.chat.completions.parse(**room, response_format=Order)
    assert parsed.choices[0].message.parsed.size in ("small", "large")
    assert parsed.model_extra["sprat"]["constraint"] in ("exact", "validated"), parsed
    with client.chat.completions.stream(**room, response_format=Order) as stream:
        final = stream.get_final_completion()
    assert 1 <= final.choices[0].message.parsed.count <= 9

    # Tools: required, named, none, and the way back.
    tool = {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "enum": ["Rome", "Oslo"]}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    named = {"type": "function", "function": {"name": "weather"}}
    for choice in ("required", named):
        called = client.chat.completions.create(**room, tools=[tool], tool_choice=choice)
        message = called.choices[0].message
        assert called.choices[0].finish_reason == "tool_calls"
        assert json.loads(message.tool_calls[0].function.arguments)["city"] in ("Rome", "Oslo")
    answer = client.chat.completions.create(**base, tools=[tool], tool_choice="none")
    assert not answer.choices[0].message.tool_calls
    turns = [
        *user,
        {"role": "assistant", "content": None, "tool_calls": [message.tool_calls[0].model_dump()]},
        {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "rain"},
    ]
    client.chat.completions.create(**{**base, "messages": turns}, tools=[tool], tool_choice="none")

    # The older protocol.
    old = client.completions.create(model="writer", prompt="ab", max_tokens=8, temperature=0)
    echo = client.completions.create(
        model="writer", prompt="ab", max_tokens=8, temperature=0, echo=True, logprobs=2
    )
    assert echo.choices[0].text == "ab" + old.choices[0].text
    assert len(echo.choices[0].logprobs.tokens) == 10
    pieces = client.completions.create(
        model="writer", prompt="ab", max_tokens=8, temperature=0, stream=True
    )
    assert "".join(piece.choices[0].text for piece in pieces) == old.choices[0].text

    # Refusals name the parameter.
    def refused(kind, code, param, **arguments):
        try:
            client.chat.completions.create(**{**base, **arguments})
        except kind as error:
            assert (error.code, error.param) == (code, param), (error.code, error.param)
            return
        raise AssertionError(f"{arguments} was not refused")

    bad = openai.BadRequestError
    refused(bad, "SPRAT-SERVE-PARAMETER", "n", n=99)
    refused(bad, "SPRAT-INFER-SAMPLING", "temperature", temperature=2.5)
    refused(bad, "SPRAT-SERVE-PARAMETER", "top_logprobs", logprobs=True, top_logprobs=50)
    refused(bad, "SPRAT-SERVE-PARAMETER", "audio", extra_body={"audio": {}})
    refused(bad, "SPRAT-INFER-CONTEXT", "max_tokens", max_completion_tokens=1_000_000)
    refused(openai.NotFoundError, "SPRAT-SERVE-MODEL", "model", model="other")

    print("all checks passed")


main()
