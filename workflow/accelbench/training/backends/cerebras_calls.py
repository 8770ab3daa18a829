"""How cszoo and csctl are called: in a virtual environment, with environment modules, through a proxy."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from accelbench.config import CerebrasPlatform
from accelbench.errors import UserError

PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")
TIMEOUT_S = 60.0  # a login shell on a busy node


def called(platform: CerebrasPlatform, command: Sequence[str]) -> list[str]:
    """Return a command as it is called: by a login shell where environment modules are to be loaded first."""
    words = [_at_home(word) for word in command]
    return [*_shell(platform, 'exec "$@"'), *words] if platform.modules else words


def environment(platform: CerebrasPlatform) -> dict[str, str]:
    """Return what the virtual environment and the proxy set in a job's environment."""
    inside = {}
    if platform.venv:
        inside["VIRTUAL_ENV"] = str(_bin(platform.venv).parent)
        inside["PATH"] = os.pathsep.join([str(_bin(platform.venv)), os.environ.get("PATH", os.defpath)])
    return inside | (dict.fromkeys(PROXIES, platform.proxy) if platform.proxy else {})


def require(platform: CerebrasPlatform, key: str) -> None:
    """Look for cszoo and csctl where they will be called; `key` is the platform's place in the config.

    Raises UserError when cszoo is not there. A missing csctl, which only a cszoo that was killed needs, is said.
    """
    if platform.venv and not _bin(platform.venv).is_dir():
        raise UserError(f"{key}.venv: {_bin(platform.venv)} is not there. Give the path of a virtual environment.")
    if not _is_found(platform, platform.command[0]):
        modules = f", and {key}.modules to what `module load` knows" if platform.modules else ""
        raise UserError(
            f"{key}.command: {platform.command[0]} can't be found on this machine. Set {key}.venv to ModelZoo's "
            f"virtual environment (its bin holds cszoo){modules}; a CS-3 is used from its user node."
        )
    if not _is_found(platform, platform.csctl[0]):
        print(
            f"{key}.csctl: {platform.csctl[0]} can't be found. Set it to csctl's path, or the wafer job of a cszoo "
            "that was killed runs on.",
            flush=True,
        )


def _shell(platform: CerebrasPlatform, script: str) -> list[str]:
    """Return a login shell, which knows `module`, that runs a script once the modules are loaded.

    A login sets PATH anew, and modules put theirs first, so the virtual environment's bin goes first after both.
    """
    path = [f'export PATH={shlex.quote(str(_bin(platform.venv)))}:"$PATH"'] if platform.venv else []
    return ["bash", "-lc", " && ".join([f"module load {shlex.join(platform.modules)}", *path, script]), "bash"]


def _is_found(platform: CerebrasPlatform, word: str) -> bool:
    inside = environment(platform)
    if not platform.modules:
        return shutil.which(_at_home(word), path=inside.get("PATH")) is not None
    command = [*_shell(platform, 'command -v -- "$1"'), _at_home(word)]
    try:
        done = subprocess.run(
            command, env={**os.environ, **inside}, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _at_home(word: str) -> str:
    return os.path.expanduser(word)  # noqa: PTH111  (a word, not only a path)


def _bin(venv: str) -> Path:
    return Path(venv).expanduser().absolute() / "bin"
