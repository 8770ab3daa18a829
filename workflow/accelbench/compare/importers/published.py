"""The script of the published comparison: {endpoint: {results: [{prompt_id, latency_sec, response, metadata}]}}.

It drops failed requests, and keeps no moments.
"""

from collections.abc import Sequence

from accelbench.compare.importers.imported import Imported, ImportedRequests, Importer, JsonDocument

_HIDDEN = [
    "the published script left failed requests out, so its success rate says nothing",
    "the published script's response length and throughput count prompt and output tokens together",
    "the published script kept no times, so it is unknown whether its endpoints were interleaved",
]
"""What a reader must know of its figures."""


def _read(documents: Sequence[JsonDocument]) -> list[Imported] | None:
    """Return a load per endpoint; None when this is no file of this script."""
    sides = [
        (name, side["results"])
        for document in documents
        for name, side in document.items()
        if isinstance(side, dict) and isinstance(side.get("results"), list)
    ]
    return [_load(name, results) for name, results in sides] or None


def _load(endpoint: str, results: Sequence[JsonDocument]) -> Imported:
    requests = ImportedRequests()
    for result in results:
        metadata = result["metadata"]
        requests.add(
            str(result["prompt_id"]),
            e2e_s=result["latency_sec"],
            answer=result.get("response"),
            finish_reason=metadata.get("finish_reason"),
            prompt_tokens=metadata.get("prompt_tokens"),
            completion_tokens=metadata.get("completion_tokens"),
        )
    return Imported(requests.kept(), endpoint=endpoint, notes=[*_HIDDEN, *requests.notes()])


PUBLISHED = Importer("the published script's JSON", _read)
