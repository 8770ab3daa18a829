"""YAML that others wrote: what is too deep, too large or endless is refused in one line, at once."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from accelbench.analysis.economy import bandwidth_limit
from accelbench.analysis.published import read_published
from accelbench.config.configfile import load_config
from accelbench.errors import UserError
from accelbench.foreign import MOST_NODES, parse_yaml
from accelbench.plan import specs
from accelbench.training.torch.settings import read_settings

LAUGHS = [f"{name}: &{name} [{', '.join([f'*{chr(ord(name) - 1)}'] * 9)}]" for name in "bcdefgh"]
BOMBS = {
    "flow, deep": "seed: " + "[" * 20_000 + "]" * 20_000,
    "flow, deep and open": "seed: " + "[" * 20_000,
    "mappings, deep": "seed: " + "{a: " * 20_000 + "}" * 20_000,
    "block, deep": "\n".join(f"{' ' * level}a:" for level in range(600)),
    "sequence, deep": "- " * 20_000 + "a",
    "keys, deep": "? " * 20_000 + "a",
    "integer": "seed: " + "9" * 5_000,
    "negative integer": "seed: -" + "9" * 5_000,
    "hexadecimal": "seed: 0x" + "f" * 5_000,
    "sexagesimal": "seed: 1" + ":59" * 2_000,
    "float": "seed: 0." + "9" * 5_000,
    "tagged integer": "seed: !!int '" + "9" * 5_000 + "'",
    "a list of itself": "seed: &a [*a]",
    "a mapping of itself": "seed: &a {b: {c: *a}}",
    "a merge of itself": "seed: &a {<<: *a}",
    "laughs": "\n".join(["a: &a [lol, lol, lol]", *LAUGHS]),
    "merges": "a: &a {x: 1}\nb: &b {<<: [" + ", ".join(["*a"] * 200) + "]}\nc: {<<: [" + ", ".join(["*b"] * 200) + "]}",
    "many values": "seed: [" + "1, " * (MOST_NODES + 1) + "]",
    "many characters": "# " + "a" * 1_000_000,
    "no such date": "seed: 2024-02-30",
    "no such number": "seed: !!int much",
    "no such time": "seed: !!timestamp then",
    "no such truth": "seed: !!bool perhaps",
    "an object": "seed: !!python/object/apply:os.system [true]",
}  # fmt: skip
READERS: dict[str, Callable[[Path], Any]] = {
    "config": load_config,
    "base params": lambda path: specs.base_params(str(path)),
    "params": read_settings,
    "hardware": lambda path: bandwidth_limit("m", 1, "m", path),
    "published": read_published,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("bomb", BOMBS)
def test_each_reader_refuses_a_bomb_in_one_line_within_a_second(bomb: str, reader: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(BOMBS[bomb])
    begun_s = time.process_time()
    with pytest.raises(UserError) as error:
        READERS[reader](path)
    assert time.process_time() - begun_s < 1.0
    assert "bomb.yaml" in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 500


def test_what_is_reasonable_is_read() -> None:
    text = "a: &a {x: 1}\nb: {<<: *a, y: [*a, *a]}\nc: " + "[" * 60 + "]" * 60 + f"\nd: '{'9' * 500}'\ne: {'f' * 64}"
    assert parse_yaml(text)["b"] == {"x": 1, "y": [{"x": 1}, {"x": 1}]}
    thousand = {f"endpoint-{n}": {"model": "m", "base_url": f"https://host/{n}/v1"} for n in range(1_000)}
    assert parse_yaml(yaml.safe_dump(thousand)) == thousand


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(TREES)
def test_the_gate_changes_nothing_of_what_it_lets_through(tree: Any) -> None:
    assert parse_yaml(yaml.safe_dump(tree)) == yaml.safe_load(yaml.safe_dump(tree))
