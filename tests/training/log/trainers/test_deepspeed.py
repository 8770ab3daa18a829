"""DeepSpeed's logs, and ezpz's."""

from .conftest import DEEPSPEED, Read


def test_a_log_gives_its_batch_both_rates_and_the_steps_that_were_skipped(read: Read) -> None:
    [log] = read(DEEPSPEED)
    assert (log.outcome, log.batch_size, log.last_step, log.final_loss) == ("completed", 256, 20, None)
    assert (log.steady_rate_samples_per_s, log.global_rate_samples_per_s) == (128.0, 128.0)
    assert "Skipped steps: 1. They changed no weights." in [check.text for check in log.checks]
    assert "max_steps" in {check.what for check in log.checks}  # whether it is complete is not known


def test_the_old_timer_counts_micro_batches_and_is_taken_where_it_counts_steps(read: Read) -> None:
    def old(times: int) -> str:
        lines = "[2026-03-01 10:00:{0:02d},000] [INFO] step={0}, skipped=0, lr=[1]\n[2026] 0/{1}, SamplesPerSec=9.5\n"
        return "".join(lines.format(step, times * step) for step in (10, 20, 30))

    assert [log.global_rate_samples_per_s for log in (*read(old(1)), *read(old(4)))] == [9.5, None]
    assert read(old(4))[0].last_step == 30


def test_the_pipeline_engine_tells_loss_rate_and_batch(read: Read) -> None:
    line = "steps: {} loss: 5.5508 lm loss: 5.5 iter time (s): 0.936 samples/sec: 136.752\n"
    [log] = read(line.format(10) + line.format(20))
    assert (log.batch_size, log.final_loss, log.rate_mean_samples_per_s) == (128, 5.5508, 136.752)
    assert round(log.steady_rate_samples_per_s or 0, 2) == 136.75


def test_ezpz_tells_the_loss(read: Read) -> None:
    line = (
        "[2026-03-01 10:00:{0:02d},500000][I][examples/vit:445:train_fn] iter={0} loss=7.125 dt=0.9 dtf=0.1 dtb=0.8\n"
    )
    [log] = read("".join(map(line.format, range(5))), batch_size=4)
    assert (log.final_loss, log.steady_rate_samples_per_s) == (7.125, 4.0)
