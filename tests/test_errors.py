"""An error carries its keys; who shows it says what they are called."""

import asyncio

import pytest

from accelbench.errors import UserError, keys_called

WRONG = UserError("<model> is wrong", model="inference.endpoints.a.model")


def test_a_key_is_called_as_in_the_config() -> None:
    assert str(WRONG) == "inference.endpoints.a.model is wrong"


def test_a_command_without_a_config_calls_keys_by_its_options_and_only_there() -> None:
    with pytest.raises(UserError, match=r"^--model is wrong$"), keys_called(lambda _: "--model"):
        raise WRONG
    assert str(WRONG) == "inference.endpoints.a.model is wrong"


def test_what_is_printed_in_a_loop_or_a_thread_is_called_so_too() -> None:
    async def said() -> str:
        return await asyncio.to_thread(str, WRONG)

    with keys_called(lambda _: "--model"):
        assert asyncio.run(said()) == "--model is wrong"
