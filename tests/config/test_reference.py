from pathlib import Path

from accelbench.config.reference import config_reference

REPOSITORY = Path(__file__).parents[2]


def test_the_config_reference_is_up_to_date() -> None:
    assert (REPOSITORY / "docs/config.md").read_text() == config_reference(), "run `make schema`"


def test_every_key_is_explained() -> None:
    rows = [line for line in config_reference().splitlines() if line.startswith("| `")]
    assert rows
    assert not [row for row in rows if row.endswith("|  |")]
