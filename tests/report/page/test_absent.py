"""What is not there stands once per cause, with what to do for all of it."""

from accelbench.plan.measurement import MEASURING_RULES
from accelbench.report.page.document import by_cause, lines

VENV = "training.platforms.cs3.venv: /x/bin is not there"
RUN = "results/training/cs3/bs{0}/r1"
MISSING = f"not measured yet; `snakemake --cores 4 {RUN}/measured.json`, with the same config files"
ANEW = f"{RUN}/run.log is gone. `snakemake --cores 4 --forcerun {RUN}/measured.json`"


def test_one_cause_of_several_runs_is_one_line() -> None:
    found = [(f"cs3 batch {size} repeat 1", "failed", VENV) for size in (256, 512, 1024, 2048)]
    assert lines(found, "runs") == [
        f"  failed: 4 runs: {VENV}",
        "    cs3 batch 256 repeat 1, cs3 batch 512 repeat 1, cs3 batch 1024 repeat 1 and cs3 batch 2048 repeat 1",
    ]


def test_a_cause_of_its_own_keeps_its_line() -> None:
    found = [("a", "failed", VENV), ("b", "failed", "out of memory"), ("c", "missing", VENV)]
    assert lines(found, "runs") == [f"  failed: a: {VENV}", "  failed: b: out of memory", f"  missing: c: {VENV}"]


def test_the_command_for_several_is_that_for_all() -> None:
    [each] = by_cause([(f"bs{size}", "missing", MISSING.format(size)) for size in (4, 8)])
    assert each.why == "not measured yet; `snakemake --cores 4`, with the same config files"
    [each] = by_cause([(f"bs{size}", "refused", ANEW.format(size)) for size in (4, 8)])
    assert each.why == f"…/run.log is gone. `snakemake --cores 4 --forcerun {' '.join(MEASURING_RULES)}`"


def test_of_many_the_first_are_named() -> None:
    [_, names] = lines([(f"bs{size}", "missing", "not yet") for size in range(10_000)], "rounds")
    assert names == "    bs0, bs1, bs2, bs3, bs4 and 9,995 more"
