"""The terms of the config, the tables and the report, each explained once, for docs/glossary.md and the page."""

import re
from dataclasses import dataclass

_HEAD = """# Glossary

Written by `make schema` from `report/glossary.py`; a test fails when it drifts. The report explains the terms that it
uses in the same words.
"""


@dataclass(frozen=True, slots=True)
class Term:
    """What one or more names mean."""

    names: tuple[str, ...]
    meaning: str

    @property
    def title(self) -> str:
        """Return the names as a heading."""
        return ", ".join(self.names)

    def is_used_in(self, text: str) -> bool:
        """Tell whether a text has one of the names as a word, in the singular or plural."""
        return any(
            re.search(rf"\b{re.escape(name)}s?\b", text, re.IGNORECASE if name.islower() else 0) for name in self.names
        )


def terms_used(text: str) -> list[Term]:
    """Return the terms that a text uses, in the order of the glossary."""
    return [term for term in TERMS if term.is_used_in(text)]


def glossary_text() -> str:
    """Return the glossary as Markdown."""
    return "\n".join([_HEAD, *(f"**{term.title}**: {term.meaning}\n" for term in TERMS)]).rstrip() + "\n"


TERMS = tuple(
    Term(names, " ".join(meaning.split()))
    for names, meaning in (
        # What is planned and measured
        (("platform",), "A machine that trains, as the config describes it."),
        (("size",), "A batch size, together with its micro batch and its sequence length where these vary, too."),
        (("micro batch",), "The part of a batch that a device processes at once. Gradients add up over the batch."),
        (("repeat",), "One of several training runs of the same size."),
        (("endpoint",), "An OpenAI-compatible API at one address, with the model that it serves."),
        (
            ("scenario",),
            """A named shape of load in the config: how many requests are sent, how, and how long prompts and answers
            are. A list among its values makes one cell per value.""",
        ),
        (("cell", "load"), "A scenario with one value of each list. Example: parallel-c8 has 8 requests in flight."),
        (
            ("round",),
            "One pass of an endpoint through its part of a cell's requests. Several rounds show how much results vary.",
        ),
        (
            ("interleaved",),
            """The endpoints take turns within each round, so that slow changes of the machine or network affect all of
            them alike. Only interleaved endpoints are compared prompt by prompt.""",
        ),
        (("baseline",), "The endpoint that the others are divided by: a latency ratio below 1 is faster than it."),
        (
            ("control",),
            "The same endpoint measured twice, as if it were two. What it differs from itself by is the noise floor.",
        ),
        (("closed loop", "slot"), "A fixed number of slots, each sending its next request when its last one ends."),
        (("open loop",), "Requests are sent at given times, whatever became of the requests before."),
        (("passage",), "The text that a question is about. Questions on one passage are not independent samples."),
        (("warm-up",), "Requests sent before a round. They count in no figure."),
        (("attempt",), "One sending of a request. A request refused with 429 or 503 is sent again: a further attempt."),
        (
            ("spec",),
            """What a job measures: the config keys that affect it, and the digests of its data. A job is measured
            again only when its spec changes.""",
        ),
        # Training
        (
            ("steady rate",),
            """Samples per second by the timestamps of the progress lines, without pauses for checkpoints and
            evaluations.""",
        ),
        (("GlobalRate", "Rate"), "As logged: all samples over the time since the first step, and a moving average."),
        (
            ("samples/total s",),
            "Samples divided by the run's total time, which includes queueing, compiling and start-up.",
        ),
        (
            ("not training",),
            """The share of a run's time outside its training phase: start-up, queue, checkpoints, evaluations. Taken
            from the log's timestamps, or from its totals where it has none.""",
        ),
        (
            ("final loss", "held-out loss"),
            """The training loss at the end, and the loss on text that is not trained on. At equal steps, batch sizes
            have seen different amounts of data, so losses are compared at equal samples only.""",
        ),
        # Latency
        (
            ("E2E", "latency"),
            """End to end: from the moment the request was written to its last token. Failed requests have no latency;
            they lower the success rate.""",
        ),
        (("TTFT",), "Time to first token."),
        (("TTFAT",), "Time to first answer token: the first one after the reasoning."),
        (("TPOT",), "Time per output token after the first, as the mean over one request."),
        (("ITL",), "Inter-token latency: the gap between two tokens that follow each other."),
        (("typical latency",), "The geometric mean of the latencies."),
        (
            ("ratio",),
            """The geometric mean of latency divided by the baseline's, over prompts that both answered in the same
            round.""",
        ),
        (
            ("latency law", "fixed cost"),
            """Latency = a + b · output tokens: the fixed cost a of a request, and the time b that each output token
            adds.""",
        ),
        (("crossover",), "The output length at which the faster of two endpoints changes."),
        (("straggler",), "A rare request that is much slower than the others."),
        # Throughput and quality
        (
            ("throughput",),
            """Per request: tokens of all successes over the sum of their latencies. System: tokens per second of the
            whole endpoint while all slots were busy. Total counts prompt and output tokens.""",
        ),
        (
            ("knee",),
            """The load beyond which users lose a larger share of their range of speeds than the system gains of its
            own, on the curve of system throughput against speed per user.""",
        ),
        (("goodput",), "Requests per second that met all latency limits of the config."),
        (("success",), "A request whose last attempt gave an answer that ended by itself or at max_tokens."),
        (
            ("exact match", "F1", "contains gold", "contains the gold answer"),
            """SQuAD's scores, with its own normalisation, and whether a gold answer occurs in the answer as whole
            words. Means over complete answers; an empty one counts as wrong. Reasoning is not scored.""",
        ),
        # Statistics
        (
            ("95 % interval",),
            """The widest of three t intervals on the log scale: over passages, over rounds and over both. None with
            fewer than 5 passages or 3 rounds. It covers this session, not other days.""",
        ),
        (("margin",), "The difference that the config calls negligible. Two sides within it are called equal."),
        (("verdict",), "Lower, higher, equal within the margin, or undecided, after correction for all tests made."),
    )
)
