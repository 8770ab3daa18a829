"""One of two ranks that train each params file that they are given; the first writes all digits of the losses.

    RANK=0 WORLD_SIZE=2 python -m tests.training.torch.ranks_cases FOLDER

FOLDER/cases.json: {name: [params file, model_dir, {fields of Run}]}; FOLDER/losses.json: {name: losses}.
"""

import json
import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from accelbench.training.torch import loop, ranks
from accelbench.training.torch.run import read_run

Losses = dict[str, list[float]]
Case = tuple[str, str, dict[str, Any]]
"""A params file, a model_dir, and fields of the Run."""


def train(cases: dict[str, Case]) -> Losses:
    """Train case by case; return the losses of all progress lines, all digits of them."""
    found: Losses = {}
    say = loop.say_progress
    try:
        for name, (params, model_dir, fields) in cases.items():
            found[name] = []
            loop.say_progress = lambda where, loss, *_, to=found[name], **__: to.append(loss)
            loop.fit(replace(read_run(Path(params), "cpu"), **fields), Path(model_dir))
    finally:
        loop.say_progress = say
    return found


def main() -> None:
    """Join the other rank, train, and write the losses."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/ranks", rank=int(os.environ["RANK"]), world_size=ranks.world_size()
    )
    ranks.joined_ranks = nullcontext  # joined once for all cases
    found = train(json.loads((folder / "cases.json").read_text()))
    if loop.is_first_rank():
        (folder / "losses.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
