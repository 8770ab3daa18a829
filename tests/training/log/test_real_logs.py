"""Real logs read as their texts say: figures are the texts' own, or worked out by hand from their timestamps."""

from pathlib import Path

import pytest

from accelbench.store.records import Wsjob
from accelbench.training.log.reader import read_log

from .conftest import doubts

LOGS = Path(__file__).parents[3].parent / "shared/logs"
real_logs = pytest.mark.skipif(not LOGS.is_dir(), reason=f"{LOGS} isn't here")


REAL = {
    "cs3_r2.6_llama2-7b_bs1024_whole": {
        "outcome": "completed", "device": "CSX", "batch_size": 1024,
        "final_loss": 6.09834, "rate_mean_samples_per_s": (31.97 + 31.98 + 31.99 + 31.97) / 4,
        "global_rate_samples_per_s": 31.99, "compile_cached": True, "processed_seconds": 7303.586917439,
        "steady_rate_samples_per_s": 150 * 1024 / 4801.059,  # 15:20:04,385 to 16:40:05,444
        "wsjobs": (Wsjob("wsjob-kgqvqqxnp9zvpmwulcbxuj", "execute"),), "wall_s": 7223.774,
        "phases": {"compile": 9.267, "weights": 13.223, "programming": 232.427, "checkpoint": 464.466,
                   "train": 6402.659, "teardown": 11.509, "setup": None},
    },
    "cs3_r2.6_llama2-7b_bs1024_from-execute": {
        "outcome": "completed", "batch_size": 1024, "final_loss": 6.10848, "global_rate_samples_per_s": 33.06,
        "compile_cached": None, "steady_rate_samples_per_s": 150 * 1024 / 4644.074, "max_steps": None,
        "wsjobs": (Wsjob("wsjob-i8jjmtsgutxp9jak2qqsvd", "execute"),),
        "phases": {"queue": None, "compile": None, "weights": 19.860, "programming": 208.146,
                   "checkpoint": 551.882, "train": 6194.670},
    },
    "cs3_r2.6_llama2-7b_bs512_from-execute": {
        "outcome": "completed", "batch_size": 512, "final_loss": 6.32152, "processed_samples": 102400,
        "rate_mean_samples_per_s": 33.3, "global_rate_samples_per_s": 33.28,
        "steady_rate_samples_per_s": 150 * 512 / 2305.662,
        "phases": {"checkpoint": 583.772, "programming": 233.452, "train": 3076.925},
    },
    "cs3_r2.6_llama2-7b_bs32_cached-compile": {
        "outcome": "completed", "batch_size": 32, "max_steps": 200, "compile_cached": True,
        "final_loss": 7.34266,
        "steady_rate_samples_per_s": 150 * 32 / 167.281, "global_rate_samples_per_s": 28.51,
        "wall_s": 1216.491,
        "wsjobs": (Wsjob("wsjob-gsnbpvucykpzrp4q43yn2s", "compile"),
                   Wsjob("wsjob-duyk568ov8cdqfmbctuxgk", "execute")),
        "phases": {"compile": 61.077, "checkpoint": 8.612 + 534.742, "weights": 24.291, "train": 224.490,
                   "queue": 0.0, "teardown": 28.330},
        "doubts": {"rates"},
    },
    "cs2_r2.4_llama2-7b_queued_then_crashed": {
        "outcome": "failed", "max_steps": 200, "last_step": None,
        "batch_size": None,
        "processed_samples": 11264, "processed_seconds": 9567.159426912, "compile_cached": True,
        "failure": ("ApplianceUnknownError", 58),
        "wsjobs": (Wsjob("wsjob-duhl7jck7hjhbtxdpxvk67", "compile"),
                   Wsjob("wsjob-7javbqdggsmrb44obfaqft", "execute")),
        "phases": {"queue": 8363.467, "checkpoint": 176.487, "weights": 66.926, "programming": 104.112},
        "doubts": {"processed"},
    },
    "cs2_r2.3_llama-7b": {
        "outcome": "incomplete", "batch_size": 99, "micro_batch": 99, "compile_cached": False,
        "last_step": 1600,
        "final_loss": 5.85938, "steady_rate_samples_per_s": 1500 * 99 / 7264.636, "processed_samples": None,
        "phases": {"checkpoint": 467.569, "queue": 790.457, "weights": 87.151, "programming": 85.373},
        "doubts": set(),
    },
    "cs2_r2.1_bert-large_bs512": {
        "outcome": "completed", "processed_covers": "train_loop",
        "batch_size": 512,
        "processed_samples": 512000, "processed_seconds": 426.819169997, "micro_batch": 512,
        "last_step": 1000,
        "rate_mean_samples_per_s": 1321.7, "steady_rate_samples_per_s": 900 * 512 / 331.191,
        "phases": {"checkpoint": 27.317 + 330.650, "weights": 109.779, "programming": 44.414, "queue": 0.0},
        "doubts": {"rates", "max_steps"},
    },
    "cs2_gpt-j_excerpt": {
        "outcome": "completed", "device": "xla:0", "batch_size": 66,
        "processed_samples": 13200, "processed_covers": "train_loop",
        "steady_rate_samples_per_s": 100 * 66 / 333.396,
        "phases": {"checkpoint": 649.483, "train": 333.142 + 333.396 + 0.002, "queue": None},
    },
    "cpu_r2.6_tiny-llama_ok": {
        "outcome": "completed", "device": "cpu", "batch_size": 8, "max_steps": 20, "first_step": 5,
        "final_loss": 5.8607, "final_loss_mean": (6.23023 + 6.10996 + 5.96573 + 5.8607) / 4,
        "steady_rate_samples_per_s": 15 * 8 / 14.665, "global_rate_samples_per_s": 9.69, "wall_s": 18.547,
        "phases": {"checkpoint": 0.266 + 0.300, "queue": None, "compile": None,
        "train": 2.408 + 14.665 + 0.001},
        "doubts": {"rates"},
    },
    "cpu_r2.6_tiny-llama_sigint": {
        "outcome": "interrupted", "max_steps": 400, "last_step": 10, "batch_size": None,
        "failure": ("KeyboardInterrupt", 130), "processed_samples": None, "final_loss": 6.10996,
        "phases": {"checkpoint": 0.306, "train": 9.640 + 8.451, "teardown": None},
    },
    "cpu_r2.6_tiny-llama_already-done": {
        "outcome": "failed", "failure": ("RuntimeError", 25), "processed_samples": 0, "last_step": None,
        "wall_s": 0.604, "phases": {"setup": 0.604, "train": None},
    },
}  # fmt: skip


@real_logs
@pytest.mark.parametrize("name", REAL)
def test_a_real_log_reads_as_its_text_says(name):
    log, expected = read_log(LOGS / f"{name}.log"), dict(REAL[name])
    phases, failure, doubted = (expected.pop(key, None) for key in ("phases", "failure", "doubts"))
    for figure, value in expected.items():
        assert getattr(log, figure) == (pytest.approx(value) if isinstance(value, float) else value), figure
    for phase, seconds in phases.items():
        assert log.phases_s[phase] == (seconds if seconds is None else pytest.approx(seconds, abs=0.01)), phase
    assert (log.failure and (log.failure["class"], log.failure["line_no"])) == failure
    if doubted is not None:
        assert doubts(log) == doubted
    assert sum(seconds or 0 for seconds in log.phases_s.values()) == pytest.approx(log.wall_s, abs=1)


@real_logs
def test_every_real_log_has_its_expected_figures():
    assert {path.stem for path in LOGS.glob("*.log")} == set(REAL)
