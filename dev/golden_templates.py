"""Makes crates/model/tests/golden/templates.json with transformers: conversations rendered by
the templates in crates/model/tests/templates, with the answers where a template says them.

    python dev/golden_templates.py

Needs transformers and jinja2. Nothing is downloaded.
"""

import datetime
import json
import pathlib
import platform

import jinja2
import transformers
from transformers.utils import chat_template_utils

TESTS = pathlib.Path(__file__).parent.parent / "crates/model/tests"
OUT = TESTS / "golden/templates.json"

# What `strftime_now` sees: 5 March 2025, 14:07:09.
NOW = datetime.datetime(2025, 3, 5, 14, 7, 9)

TEXTS = {
    "chatml": {"eos_token": "<|im_end|>"},
    "llama2": {"bos_token": "<s>", "eos_token": "</s>"},
    "llama3": {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
    "gemma": {"bos_token": "<bos>", "eos_token": "<eos>"},
    "phi3": {"bos_token": "<s>", "eos_token": "<|endoftext|>"},
    "phi4mini": {"eos_token": "<|endoftext|>"},
    "mistral": {"bos_token": "<s>", "eos_token": "</s>"},
    "qwen": {"eos_token": "<|im_end|>"},
    "generation": {"eos_token": "<|im_end|>"},
    "features": {"bos_token": "<s>", "eos_token": "</s>"},
}

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a \"city\" <now>, in °C",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "It's a place"},
                "days": {"type": ["integer", "null"], "minimum": 0.5, "default": None},
            },
            "required": ["city"],
        },
    },
}
CALL = {
    "type": "function",
    "id": "call00001",
    "function": {"name": "get_weather", "arguments": {"city": "Köln", "days": 2, "exact": True}},
}


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


CONVERSATIONS = {
    "short": {"messages": [user("Hello")]},
    "turns": {
        "messages": [
            system("  You are terse.\n"),
            user(" What is 2+2? \n"),
            assistant("\n4. "),
            user("It's <b>wrong</b>\n\n  or [not]?\tÄ日🙂"),
            assistant("No."),
        ]
    },
    "prompt": {
        "messages": [user("One"), assistant("Two"), user("Three")],
        "add_generation_prompt": True,
    },
    "reasoning": {
        "messages": [
            user("First"),
            assistant("<think>\nhm\n</think>\n\nA"),
            user("Second"),
            assistant("<think>\nhm, again\n</think>\n\nB"),
        ]
    },
    "no thinking": {
        "messages": [user("Quick")],
        "add_generation_prompt": True,
        "enable_thinking": False,
    },
    "tools": {
        "messages": [
            system("Use tools."),
            user("Weather in Köln?"),
            assistant(None, tool_calls=[CALL]),
            {"role": "tool", "content": "{\"temp\": 21}", "name": "get_weather",
             "tool_call_id": "call00001"},
            assistant("21 °C."),
        ],
        "tools": [WEATHER],
    },
    "tool answer as text": {
        "messages": [user("<tool_response>\nx\n</tool_response>"), assistant("ok")],
    },
    "parts": {
        "messages": [
            system([{"type": "text", "text": "Look."}]),
            user([{"type": "image"}, {"type": "text", "text": " What is it? "}]),
        ],
        "add_generation_prompt": True,
    },
    "wrong order": {"messages": [user("a"), user("b")]},
}


class Now(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def render(source, conversation, texts):
    arguments = dict(conversation)
    messages = arguments.pop("messages")
    mask = "generation" in source and "{%- generation" in source
    try:
        rendered, ranges = chat_template_utils.render_jinja_template(
            conversations=[messages],
            chat_template=source,
            return_assistant_tokens_mask=mask,
            **{"tools": None, **arguments},
            **texts,
        )
    except Exception as error:
        if type(error) is jinja2.exceptions.TemplateError:
            return {"refused": str(error)}
        # The template is not made for this conversation.
        return None
    out = {"text": rendered[0]}
    if mask:
        out["answers"] = [rendered[0][start:end] for start, end in ranges[0]]
    return out


def main():
    chat_template_utils.datetime = Now
    cases = []
    for path in sorted((TESTS / "templates").glob("*.jinja")):
        source = path.read_text()
        for name, conversation in CONVERSATIONS.items():
            result = render(source, conversation, TEXTS[path.stem])
            if result is not None:
                cases.append({"template": path.stem, "conversation": name, **result})
    golden = {
        "origin": {
            "what": "conversations rendered by the chat templates of tests/templates",
            "command": "python dev/golden_templates.py",
            "versions": {
                "python": platform.python_version(),
                "transformers": transformers.__version__,
                "jinja2": jinja2.__version__,
            },
        },
        "now": int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp() * 1000),
        "texts": TEXTS,
        "conversations": CONVERSATIONS,
        "cases": cases,
    }
    OUT.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")
    print(f"{OUT}: {len(cases)} cases")


main()
