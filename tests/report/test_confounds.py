"""The published comparison's confounds: each is found where it is planted, none in a clean record."""

from dataclasses import replace
from typing import Any

import pytest

from accelbench.analysis.evidence import Evidence, evidence_of
from accelbench.report.reasons import confounds
from accelbench.store.records import InferRoundRecord, RequestRecord

from ..analysis.records import asked_rounds, measured, request, sides

LABELS = {"a": "Alpha", "b": "Beta"}


def rounds(**given: Any) -> list[InferRoundRecord]:
    """Return a clean record's rounds; `given` holds for Beta's."""
    clean = {"facts": {"base_url": "https://one.example/v1"}, "scenario": {}, "request_example": {"model": "m"}}
    return [
        replace(measured(name, number), **{**clean, **(given if name == "b" else {})})
        for name in "ab"
        for number in (1, 2)
    ]


def requests(warm_up: bool = True, **given: Any) -> list[RequestRecord]:
    asked = [r for name in "ab" for r in asked_rounds(name, lambda n: 1.0, rounds=2, **given)]
    return [*asked, *(request(endpoint=name, key="w", warm_up=True) for name in "ab" if warm_up)]


def known(**given: Any) -> list[Evidence]:
    return evidence_of(rounds(), sides(rounds(), requests(**given)))


def test_a_clean_record_has_none() -> None:
    assert confounds(rounds(), known(), LABELS) == []


def test_another_gateway_is_named() -> None:
    (found,) = confounds(rounds(facts={"base_url": "https://two.example/v1"}), known(), LABELS)
    assert found == "different gateways (Alpha through one.example and Beta through two.example)"


def test_servers_on_this_machine_are_behind_no_gateway() -> None:
    own = [replace(r, facts={"base_url": f"http://127.0.0.1:{8000 + r.round}/v1"}) for r in rounds()]
    assert confounds(own, known(), LABELS) == []


def test_another_reasoning_effort_is_named() -> None:
    (found,) = confounds(rounds(request_example={"reasoning_effort": "high"}), known(), LABELS)
    assert found == "different reasoning efforts (Alpha default and Beta high)"


def test_fields_that_an_endpoint_refused_are_said() -> None:
    changed = {"base_url": "https://one.example/v1", "request_changes": "without temperature"}
    (found,) = confounds(rounds(facts=changed), known(), LABELS)
    assert found == "requests other than planned (Beta was asked without temperature)"


def test_no_warm_up_is_said() -> None:
    assert confounds(rounds(), known(warm_up=False), LABELS) == ["no warm-up"]


def test_one_passage_is_said() -> None:
    assert "only one passage" in confounds(rounds(), known(passage="P"), LABELS)


@pytest.mark.parametrize(("nonce", "said"), [(False, True), (True, False)])
def test_a_passage_asked_again_is_said_where_there_was_no_nonce(nonce: bool, said: bool) -> None:
    planned = [replace(r, scenario={"nonce": nonce}) for r in rounds()]
    found = " ".join(confounds(planned, known(passage="P"), LABELS))
    assert ("without a random prefix" in found) == said


def test_a_temperature_above_0_is_said() -> None:
    planned = [replace(r, scenario={"temperature": 0.7}) for r in rounds()]
    assert confounds(planned, known(), LABELS) == ["answers sampled at temperature 0.70, once each"]


def test_the_load_is_named_where_it_is_not_all_of_them() -> None:
    busy = [replace(r, cell="busy", scenario={"temperature": 1.0}) for r in rounds()]
    asked = [*requests(), *(replace(r, cell="busy") for r in requests())]
    assert confounds([*rounds(), *busy], evidence_of([*rounds(), *busy], sides([*rounds(), *busy], asked)), LABELS) == [
        "answers sampled at temperature 1.0, once each (busy)"
    ]
