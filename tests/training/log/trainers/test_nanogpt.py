"""nanoGPT's logs."""

from .conftest import NANOGPT, Read


def test_a_log_gives_its_batch_by_the_block_size_and_the_time_of_an_iteration_for_all(read: Read) -> None:
    [log] = read(NANOGPT)
    assert (log.outcome, log.batch_size, log.sequence_length, log.max_steps) == ("completed", 32, 256, 40)
    assert log.steady_rate_samples_per_s == 320.0
    assert ([row.loss for row in log.held_out], log.final_loss) == ([10.8, 7.6], 6.0)
    assert round(log.flops_utilization or 0, 3) == 0.195
    assert [step.t_s for step in log.steps] == [0.0, 1.0, 2.0, 7.9, 8.9]  # 5 s are those of one iteration, not of ten


def test_without_a_block_size_there_is_no_batch(read: Read) -> None:
    [log] = read(NANOGPT.replace("block_size = 256 # context\n", ""))
    assert (log.batch_size, log.steady_rate_samples_per_s) == (None, None)


def test_an_evaluation_before_the_first_step_starts_no_second_process(read: Read) -> None:
    [log] = read(NANOGPT.replace("Initializing a new model from scratch\n", ""))
    assert (log.parts, log.outcome, [row.step for row in log.held_out]) == (1, "completed", [0, 30])
