"""Thinking that stands inside an answer's text, between tags: servers without a parser for the model pass it on so.

A block counts when it is closed, or when its opening tag begins the text or a line and the answer ended within it.
Chat templates that open the block in the prompt leave the closing tag alone: all before the first one is thinking.
"""

import re

PAIRS = {
    "<think>": "</think>",  # DeepSeek R1, Qwen 3, GLM, Phi 4
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",  # Gemini's compatible API
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",  # ByteDance Seed-OSS
    "[THINK]": "[/THINK]",  # Mistral's Magistral
    "◁think▷": "◁/think▷",  # Kimi
    "<|START_THINKING|>": "<|END_THINKING|>",  # Cohere's Command A
    "<|channel|>analysis<|message|>": "<|channel|>final<|message|>",  # gpt-oss
}
ALONE = ("assistantfinal",)  # gpt-oss's closing tag without its special tokens
CLOSING = {*PAIRS.values(), *ALONE}
TAG = re.compile("|".join(re.escape(tag) for tag in (*PAIRS, *CLOSING)))


def spans(text: str) -> list[tuple[int, int]]:
    """Return where thinking stands in a text, in order, tags included."""
    found: list[tuple[int, int]] = []
    begin, closing = 0, ""
    for tag in TAG.finditer(text):
        name = tag[0]
        if name == closing or (not closing and not found and name in CLOSING):
            found.append((begin, tag.end()))
            begin, closing = tag.end(), ""
        elif not closing and name in PAIRS:
            begin, closing = tag.start(), PAIRS[name]
    if closing and (begin == 0 or text[found[-1][1] if found else 0 : begin].strip() == "" or text[begin - 1] == "\n"):
        found.append((begin, len(text)))
    return found


def parted(text: str) -> tuple[str, str]:
    """Return the answer and the thinking of a text, tags left out."""
    where = spans(text)
    if not where:
        return text, ""
    edges = [0, *(edge for span in where for edge in span), len(text)]
    answer = "".join(text[edges[place] : edges[place + 1]] for place in range(0, len(edges), 2))
    thinking = "".join(TAG.sub("", text[begin:end]) for begin, end in where)
    return answer.lstrip(), thinking
