"""llama.cpp's HTTP server as a process: `python -m accelbench.inference.servers.llama_cpp --gguf FILE …`.

The prompt cache is off: it would answer a repeated prefix from memory and fake the time to first token.
"""

import argparse
import threading
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--context-tokens", type=int, required=True, help="per slot")
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args(arguments)

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options.gguf
    params.model_alias = {options.model}
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    params.n_parallel = options.slots
    params.n_ctx = options.slots * options.context_tokens
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.endpoint_metrics = True
    params.cache_prompt = False
    params.cache_ram_mib = 0
    server = xllamacpp.Server(params)
    print(f"serving {options.model} at {server.listening_address}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
