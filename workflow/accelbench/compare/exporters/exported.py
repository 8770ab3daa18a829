"""One round as it is exported: its requests, and what they amount to."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from accelbench.analysis.load import wall_s
from accelbench.config import Scenario
from accelbench.store.records import SUCCESS, InferRoundRecord, RequestRecord
from accelbench.store.requests import Requests


@dataclass(frozen=True, slots=True)
class Exported:
    """One round of one load; `requests` are the last attempts, without the warm-up."""

    record: InferRoundRecord
    requests: Sequence[RequestRecord]
    scenario: Scenario
    wall_s: float

    @classmethod
    def of(cls, record: InferRoundRecord, attempts: Sequence[RequestRecord], slots: int) -> "Exported | None":
        """Take a round from its attempts; None where they have no times. `slots`: where no scenario is recorded."""
        own = [each for each in attempts if each.round == record.round and not each.warm_up]
        lasted_s = wall_s(Requests.of(own)) if own else None
        scenario = Scenario.model_validate(record.scenario or {"concurrency": max(1, slots)})
        return cls(record, [each for each in own if each.last_attempt], scenario, lasted_s) if lasted_s else None

    @property
    def model(self) -> str:
        """The model's id, if it is recorded."""
        return str((self.record.facts or {}).get("model") or "unknown")

    @property
    def is_open(self) -> bool:
        """Whether requests were sent at a rate."""
        return self.scenario.arrivals != "closed"

    @property
    def good(self) -> list[RequestRecord]:
        """The requests that succeeded."""
        return [each for each in self.requests if each.class_ in SUCCESS]

    def per_s(self, amount: float) -> float:
        """Return an amount per second of the round."""
        return amount / self.wall_s

    def prompt_tokens(self) -> int:
        """Return the prompt tokens of all successes, as far as they are known."""
        return sum(each.prompt_tokens or 0 for each in self.good)

    def completion_tokens(self) -> int:
        """Return the generated tokens of all successes, as far as they are known."""
        return sum(each.completion_tokens or 0 for each in self.good)


def gaps_s(request: RequestRecord) -> list[float]:
    """Return the times between a request's token events."""
    times_s = request.event_times_s
    return [later - earlier for earlier, later in pairwise(times_s)]
