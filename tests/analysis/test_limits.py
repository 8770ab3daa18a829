"""The bandwidth limit of decoding."""

from pathlib import Path

import pytest

from accelbench.analysis.economy import bandwidth_limit, speculates
from accelbench.errors import UserError

SHIPPED = Path(__file__).parents[2] / "config/hardware.yaml"


def test_four_a100_read_gpt_oss_about_1234_times_a_second() -> None:
    limit = bandwidth_limit("a100-40gb", 4, "gpt-oss-120b", SHIPPED)
    assert limit.tok_per_s == pytest.approx(1234, rel=0.002)
    assert len(limit.sources) == 2


@pytest.mark.parametrize(
    ("machine", "model", "why"),
    [
        ("tpu", "gpt-oss-120b", r"machines has no tpu; it has a100-40gb, .*Add it, with its source"),
        ("b200", "other", r"models has no other; it has gpt-oss-120b"),
    ],
)
def test_what_is_not_known_is_named(machine: str, model: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        bandwidth_limit(machine, 1, model, SHIPPED)


@pytest.mark.parametrize("entry", ["{}", "{memory_gb_per_s: 0, source: s}", "{memory_gb_per_s: 5}", "7"])
def test_a_figure_without_a_source_or_sense_is_refused(tmp_path: Path, entry: str) -> None:
    known = tmp_path / "hardware.yaml"
    known.write_text(f"machines: {{m: {entry}}}\nmodels: {{l: {{read_gb_per_token: 1, source: s}}}}\n")
    with pytest.raises(UserError, match=r"machines\.m must have memory_gb_per_s, a number above 0, and its source"):
        bandwidth_limit("m", 1, "l", known)


def test_no_file_and_no_yaml_are_clear(tmp_path: Path) -> None:
    for content in (None, "a: ["):
        known = tmp_path / "hardware.yaml"
        if content:
            known.write_text(content)
        with pytest.raises(UserError, match=r"hardware\.yaml can't be read"):
            bandwidth_limit("m", 1, "l", known)


def test_speculation_is_what_a_server_reports() -> None:
    assert speculates({"acceptance_rate": 0.7}) and speculates({"draft_n": 4})
    assert not speculates({}) and not speculates({"draft_n": 0, "total_latency": 1.0})
