"""Drives a server with OpenAI's official client. Started by the test in openai.rs with the
server's base URL; the served model is the one of tests/support."""

import sys

import openai


def main() -> None:
    client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0)
    user = [{"role": "user", "content": "card lost"}]

    models = client.models.list()
    assert [model.id for model in models] == ["task"], models
    assert client.models.retrieve("task").id == "task"

    answer = client.chat.completions.create(model="task", messages=user, temperature=0)
    assert answer.choices[0].message.content == "card", answer
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == 4

    chunks = list(
        client.chat.completions.create(
            model="task", messages=user, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "card", chunks
    assert chunks[-1].usage.total_tokens == 4

    schema = {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": ["card", "loan", "other"]}},
        "required": ["label"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "label", "schema": schema, "strict": True}}
    answer = client.chat.completions.create(model="task", messages=user, response_format=wanted)
    assert answer.choices[0].message.content == '{"label":"card"}', answer

    # The client's own structured outputs: a schema made from a Pydantic class.
    import enum

    import pydantic

    class Label(str, enum.Enum):
        card = "card"
        loan = "loan"
        other = "other"

    class Ticket(pydantic.BaseModel):
        label: Label

    parsed = client.chat.completions.parse(model="task", messages=user, response_format=Ticket)
    assert parsed.choices[0].message.parsed == Ticket(label=Label.card), parsed

    # The client asks for base64 unless told otherwise, and unpacks it.
    vectors = client.embeddings.create(model="task", input=["a", "bc"])
    assert len(vectors.data) == 2
    assert [round(x, 4) for x in vectors.data[0].embedding] == [0.6, 0.0, -0.8], vectors
    floats = client.embeddings.create(model="task", input="a", encoding_format="float")
    assert [round(x, 4) for x in floats.data[0].embedding] == [0.6, 0.0, -0.8]

    def refused(kind, code, **arguments):
        try:
            client.chat.completions.create(**{"model": "task", "messages": user, **arguments})
        except kind as error:
            assert error.code == code, (error.code, code)
            return
        raise AssertionError(f"{arguments} was not refused")

    refused(openai.NotFoundError, "SPRAT-SERVE-MODEL", model="gpt-large")
    refused(openai.BadRequestError, "SPRAT-SERVE-PARAMETER", n=2)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    refused(openai.BadRequestError, "SPRAT-SERVE-PARAMETER", tools=[tool])
    bad = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "integer"}}}
    refused(openai.BadRequestError, "SPRAT-SERVE-SCHEMA", response_format=bad)

    print("all checks passed")


main()
