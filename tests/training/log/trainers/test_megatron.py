"""Megatron-LM's logs, and those of its relatives."""

from accelbench.store.records import HeldOut

from .conftest import MEGATRON, Read, megatron


def test_a_log_gives_its_batch_its_steady_rate_its_losses_and_its_phases(read: Read) -> None:
    [log] = read(MEGATRON)
    assert (log.outcome, log.batch_size, log.sequence_length, log.max_steps) == ("completed", 64, 2048, 40)
    assert log.steady_rate_samples_per_s == 64 * 2  # 20 steps of 0.5 s; what lies around the checkpoint is left out
    assert (log.final_loss, log.held_out) == (6.0, (HeldOut(40, 26.0, 6.5),))
    assert (log.wall_s, log.phases_s["train"], log.started_at) == (28.0, 26.0, "2026-03-01T10:00:00.000")


def test_without_timestamps_the_times_of_the_steps_are_added_up_and_said(read: Read) -> None:
    [log] = read("".join(megatron(step) for step in (10, 20, 30)))
    assert (log.steady_rate_samples_per_s, log.wall_s, log.started_at) == (128.0, 10.0, None)
    assert "The log has no timestamps: its times are the sums of those that it gives for its steps." in [
        check.text for check in log.checks
    ]


def test_gpt_neox_tells_its_batch_by_its_rate(read: Read) -> None:
    line = " samples/sec: 7.799 | iteration {:8d}/ 100 | elapsed time per iteration (ms): 4103.1 | lm_loss: 1.1E+01 |\n"
    [log] = read(line.format(1) + line.format(2))
    assert (log.batch_size, log.rate_mean_samples_per_s, log.final_loss) == (32, 7.799, 11.0)


def test_alcfs_relative_writes_its_fields_with_equals_signs(read: Read) -> None:
    line = (
        "[2026-03-01 10:00:{:02d}][INFO][training:1251] -  iteration= {:6d}/ 100 "
        "| elapsed_time_per_iteration_ms=2000.0 "
        "| global_batch_size=  256 | lm loss=11.25 | actual_seqlen= 4096 | number_of_skipped_iterations=  1 |\n"
    )
    [log] = read("".join(line.format(2 * step, step) for step in (1, 2, 3)))
    assert (log.batch_size, log.sequence_length, log.steady_rate_samples_per_s) == (256, 4096, 128.0)
    assert (log.final_loss, "Skipped steps: 3. They changed no weights." in [c.text for c in log.checks]) == (
        11.25,
        True,
    )


def test_a_batch_size_that_grows_is_a_doubt(read: Read) -> None:
    [log] = read(megatron(10) + megatron(20, batch=128))
    assert "The batch size changes from 64 to 128: the steady rate counts the first." in [
        check.text for check in log.checks
    ]


def test_a_batch_size_that_is_given_counts_and_another_in_the_log_is_a_doubt(read: Read) -> None:
    [log] = read(megatron(10) + megatron(20), batch_size=32)
    assert (log.batch_size, log.steady_rate_samples_per_s) == (32, 64.0)
    assert "32 is used, but the log has 64 by its lines." in [check.text for check in log.checks]


def test_a_loss_that_is_nan_is_a_doubt(read: Read) -> None:
    [log] = read(megatron(10) + megatron(20, lm_loss="nan"))
    assert "1 progress lines have a loss that is nan or infinite." in [check.text for check in log.checks]


def test_a_run_that_goes_on_from_a_checkpoint_is_one_run(read: Read) -> None:
    stopped = MEGATRON[: MEGATRON.index(megatron(30, second=21))]
    arguments = MEGATRON[: MEGATRON.index("[before")]
    resumed = "  successfully loaded checkpoint from c [ t 1/1, p 1/1 ] at iteration 20\n"
    [log] = read(stopped + arguments + resumed + megatron(30, second=41) + megatron(40, second=46))
    assert (log.outcome, log.parts, log.resumed_from_steps) == ("completed", 2, (20,))
    assert [step.step for step in log.steps] == [10, 20, 30, 40]
