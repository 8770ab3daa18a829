"""The logs of Lightning and NeMo."""

from .conftest import LIGHTNING, Read, lightning


def test_bars_give_steps_over_epochs_and_a_rate_for_a_batch_size_that_is_given(read: Read) -> None:
    [log] = read(LIGHTNING, batch_size=16)
    assert (log.outcome, log.first_step, log.last_step, log.final_loss) == ("completed", 2, 20, 2.5)
    assert log.steady_rate_samples_per_s == 32.0
    [log] = read(LIGHTNING)
    assert (log.batch_size, log.steady_rate_samples_per_s) == (None, None)
    assert "The log doesn't tell the batch size, so there is no steady rate: give --batch-size." in [
        c.text for c in log.checks
    ]


def test_nemos_bar_gives_the_batch_by_the_samples_consumed(read: Read) -> None:
    more = "reduced_train_loss=11.70, global_step={}.00, consumed_samples={}.0, train_step_timing in s=0.50"
    [log] = read("".join(lightning(n, f"00:0{n}", more=more.format(n - 1, 252 * n)) for n in (1, 2, 3)))
    assert (log.batch_size, log.first_step, log.last_step, log.steady_rate_samples_per_s) == (252, 0, 2, 252.0)


def test_nemos_lines_give_all_by_themselves(read: Read) -> None:
    line = (
        "Training epoch 0, iteration {0}/2 | lr: 3e-05 | consumed_samples: 8 | global_batch_size: 8 | global_step: {0} "
        "| reduced_train_loss: 1.25 | train_step_timing in s: 0.25 | val_loss: 4.5\n"
    )
    [log] = read("".join(map(line.format, range(3))))
    assert (log.outcome, log.max_steps, log.batch_size, log.steady_rate_samples_per_s) == ("completed", 2, 8, 32.0)
    assert (log.final_loss, [row.loss for row in log.held_out]) == (1.25, [4.5])
