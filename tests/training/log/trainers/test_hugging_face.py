"""The logs of Hugging Face's Trainer."""

from .conftest import HUGGING_FACE, Read, hugging_face


def test_a_log_gives_its_batch_its_steady_rate_by_the_bars_clock_and_what_was_processed(read: Read) -> None:
    [log] = read(HUGGING_FACE)
    assert (log.outcome, log.batch_size, log.max_steps, log.final_loss) == ("completed", 32, 40, 1.0)
    assert [(step.step, step.t_s) for step in log.steps] == [(10, 0.0), (20, 5.0), (30, 10.0), (40, 15.0)]
    assert log.steady_rate_samples_per_s == 64.0
    assert (log.processed_samples, log.processed_seconds) == (1280, 20.5)


def test_a_log_copied_from_a_terminal_has_each_bar_once_above_its_loss(read: Read) -> None:
    lines = [hugging_face(step, 4.0, f"00:{step // 2:02d}").split("\r") for step in (10, 20)]
    text = HUGGING_FACE[: HUGGING_FACE.index("\r")] + "".join(f"{bar}\n{said}" for _, bar, _, said, *_ in lines)
    assert [(step.step, step.t_s) for step in read(text)[0].steps] == [(10, 0.0), (20, 5.0)]


def test_without_bars_the_epoch_tells_the_step_and_a_dict_may_have_several_lines(read: Read) -> None:
    head = HUGGING_FACE[: HUGGING_FACE.index("\r")]
    [log] = read(f"{head}{{'loss': 3.5, 'epoch': 0.25}}\n{{'loss': '3.25',\n 'epoch': '0.5'}}\n")
    assert [(step.step, step.loss) for step in log.steps] == [(10, 3.5), (20, 3.25)]
    assert log.steady_rate_samples_per_s is None


def test_an_evaluation_is_held_out_and_no_part_of_the_rate(read: Read) -> None:
    evaluation = "\n{'eval_loss': 4.5, 'eval_runtime': 9.0, 'epoch': 0.5}\n"
    head, *losses = HUGGING_FACE.partition("\r 50%")
    [log] = read(head + evaluation + "".join(losses))
    assert [(row.step, row.loss) for row in log.held_out] == [(10, 4.5)]
    assert log.steady_rate_samples_per_s == 64.0
