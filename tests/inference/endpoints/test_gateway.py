"""A gateway's status pages, in ALCF's shape."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelbench.inference.endpoints.served_model import job_of, listed_models

JOBS = {
    "running": [{"Models": "a, b", "Framework": "vllm", "Cluster": "sophia", "Model Status": "running"}],
    "queued": [{"Models": "c", "Cluster": "sophia"}, {"Models": "b", "Model Status": "queued"}],
    "stopped": [],
    "cluster_status": {"free": 2},
}
STARTING = {"running": [{"Models": "a", "Model Status": "starting"}]}


@pytest.mark.parametrize(
    ("document", "model", "state"),
    [(JOBS, "a", "running"), (JOBS, "b", "running"), (JOBS, "c", "queued"), (STARTING, "a", "starting")],
)
def test_the_state_of_a_models_job_is_found(document: Any, model: str, state: str) -> None:
    found, entry = job_of(document, model)
    assert found == state
    assert entry is not None and model in entry["Models"]


@pytest.mark.parametrize("document", [JOBS, None, [], {"detail": "no"}, {"running": None}])
def test_a_model_without_a_job_has_no_state(document: Any) -> None:
    assert job_of(document, "z") == (None, None)


def test_the_models_of_the_cluster_in_the_base_url_are_listed() -> None:
    frameworks = {"vllm": {"models": ["a", "b"], "endpoints": ["chat/completions"]}, "infinity": {"models": ["e"]}}
    page = {"clusters": {"metis": {"frameworks": {"api": {"models": ["c"]}}}, "sophia": {"frameworks": frameworks}}}
    assert listed_models(page, "https://h/resource_server/sophia/vllm/v1") == ["a", "b", "e"]
    assert listed_models(page, "https://h/resource_server/minerva/api/v1") == []


KEYS = st.sampled_from(["clusters", "s", "frameworks", "models", "Models", "running"])
ANYTHING = st.recursive(
    st.none() | st.integers() | st.sampled_from(["a", "running"]),
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
)


@given(ANYTHING)
def test_any_page_is_read_without_an_error(document: Any) -> None:
    job_of(document, "a")
    listed_models(document, "https://h/s/v1")
