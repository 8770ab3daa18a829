"""torchtitan's logs."""

from .conftest import TORCHTITAN, Read, torchtitan


def test_a_log_gives_its_batch_both_rates_its_losses_and_its_utilization(read: Read) -> None:
    [log] = read(TORCHTITAN)
    assert (log.outcome, log.batch_size, log.sequence_length, log.max_steps) == ("completed", 8, 4096, 20)
    assert log.steady_rate_samples_per_s == 8 * 19 / 38
    assert (log.rate_mean_samples_per_s, log.checks) == (4.0, ())  # without the first line's
    assert log.rate_last_samples_per_s == 2048 * 8 / 4096  # tokens/s of a device, on 4 x 2 devices
    assert (log.final_loss, log.flops_utilization) == (8.0, 0.4)
    assert (log.phases_s["setup"], log.phases_s["train"], log.wall_s) == (2.0, 48.0, 51.0)


def test_what_each_rank_prints_counts_once(read: Read) -> None:
    steps = "".join(torchtitan(step, step + rank / 100, rank=rank) for step in (1, 2, 3) for rank in range(4))
    [log] = read(steps, batch_size=8)
    assert ([step.step for step in log.steps], log.steady_rate_samples_per_s) == ([1, 2, 3], 8.0)
    assert "steps" not in {check.what for check in log.checks}
