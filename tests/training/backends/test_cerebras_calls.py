"""cszoo and csctl are called in their virtual environment, with modules, through a proxy; or it is said what lacks."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from accelbench.config import CerebrasPlatform
from accelbench.errors import UserError
from accelbench.training.backends.cerebras import PROXIES, Cerebras

KEY = "training.platforms.cs3"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home whose login shell knows `module`, and takes PATH away as logins do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path(".bash_profile").write_text(
        "export PATH=/usr/bin:/bin\n"
        'module() { echo "$@" >> ~/loaded; [ "$2" != missing ] && export PATH=~/from_module:"$PATH"; }\n'
    )


def cs3(**changes: Any) -> Cerebras:
    return Cerebras("cs3", CerebrasPlatform.model_validate({"backend": "cerebras", **changes}))


def program(folder: str, name: str = "cszoo", text: str = 'echo "$0|$VIRTUAL_ENV|$*"') -> Path:
    path = Path(folder).absolute() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def ran(of: Cerebras) -> str:
    found = of.launch(Path("params 1.yaml"), Path("model_dir"))
    return subprocess.run(
        found.command, env={**os.environ, **found.env}, capture_output=True, text=True, check=True
    ).stdout.strip()


ARGUMENTS = "fit params 1.yaml --target_device CSX --model_dir model_dir"


@pytest.mark.parametrize("modules", [[], ["PrgEnv", "tools/1.2"]])
def test_cszoo_is_that_of_the_virtual_environment(modules: list[str]) -> None:
    there = program("my venv/bin")
    program("from_module")
    assert ran(cs3(venv="~/my venv", modules=modules)) == f"{there}|{Path('my venv').absolute()}|{ARGUMENTS}"


def test_modules_are_loaded_first_and_every_word_is_quoted() -> None:
    there = program("from_module", name="cs zoo")
    assert ran(cs3(command=["cs zoo", "$(touch broken)"], modules=["a;touch broken", "b"])) == (
        f"{there}||$(touch broken) {ARGUMENTS}"
    )
    assert Path("loaded").read_text() == "load a;touch broken b\n"
    assert not Path("broken").exists()


def test_without_modules_there_is_no_shell() -> None:
    assert cs3().called(["~/x", "y"]) == [str(Path("x").absolute()), "y"]


def test_csctl_is_called_like_cszoo() -> None:
    found = cs3(venv="venv", modules=["m"], csctl=["csctl"]).launch(Path("p"), Path("m"))
    shell = found.afterwards[3:]
    assert shell[:2] == ["bash", "-lc"] and shell[-1] == "csctl"
    assert found.env["VIRTUAL_ENV"] == str(Path("venv").absolute())


def test_the_proxy_is_set_by_all_its_names() -> None:
    assert cs3(proxy="http://proxy.example:3128").environment == dict.fromkeys(PROXIES, "http://proxy.example:3128")
    assert cs3().environment == {}


# --- what is not there ------------------------------------------------------------------------------------------------


def refused(**changes: Any) -> str:
    with pytest.raises(UserError) as error:
        cs3(**changes).require()
    return str(error.value)


def test_a_cszoo_that_is_not_there_is_named_with_the_key_to_set() -> None:
    assert refused() == (
        f"{KEY}.command: cszoo can't be found on this machine. Set {KEY}.venv to ModelZoo's virtual environment "
        "(its bin holds cszoo); a CS-3 is used from its user node."
    )
    assert f"{KEY}.modules to what `module load` knows" in refused(modules=["missing"])


def test_a_virtual_environment_that_is_not_there_is_named() -> None:
    assert refused(venv="~/gone") == (
        f"{KEY}.venv: {Path('gone').absolute()}/bin is not there. Give the path of a virtual environment."
    )


@pytest.mark.parametrize("modules", [[], ["m"]])
def test_a_csctl_that_is_not_there_is_said_but_stops_nothing(
    modules: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    program("venv/bin")
    cs3(venv="venv", modules=modules).require()
    assert f"{KEY}.csctl: csctl can't be found." in capsys.readouterr().out
    program("venv/bin", "csctl")
    cs3(venv="venv", modules=modules).require()
    assert capsys.readouterr().out == ""
