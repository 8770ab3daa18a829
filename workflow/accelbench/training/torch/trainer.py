"""Train by a params file in ModelZoo's format with torch: `cszoo fit` for a laptop or a GPU node.

    python -m accelbench.training.torch.trainer PARAMS.yaml --model_dir DIR [--device cpu|cuda|xpu|mps]
        [--initial_weights normal|modelzoo] [--processes N] [--sharding none|full]
        [--activation_checkpointing none|full] [--compile] [--nodes N]

The log on stdout is ModelZoo's. A run that was stopped goes on from its last checkpoint when it is started again
with the same model_dir; one that is finished fails there, as with cszoo. Exit status: 0 trained, 1 failed (the
log's last line says why), 2 refused (one line on stderr says why), 130 interrupted. The loop itself is in
`loop`; torch is imported only once the params file has been found good. With --processes 8, eight of this trainer
train together, started as by `torchrun --standalone --nproc-per-node 8`. With --nodes 2 as well, in a job of PBS or
Slurm, each of two nodes has eight: this process becomes the mpiexec or srun that starts a torchrun on each node, which
meet at a port of this one. All nodes read and write the same files.
"""

import argparse
import os
import shlex
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from accelbench.errors import UserError
from accelbench.jobs.guard import die_with_parent
from accelbench.jobs.scheduler import once_per_node
from accelbench.training.torch.log import say
from accelbench.training.torch.run import DEVICES, FOR_MEMORY, INITIAL_WEIGHTS, Run, read_run


def run_together(processes: int, arguments: Sequence[str], nodes: int = 1, rendezvous: str = "localhost:0") -> int:
    """Run the trainer in so many processes on this node, one of several that meet at `rendezvous` (host:port).

    Return the exit status of the first that failed here (128 + n: by signal n).
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    here = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=processes,
        run_id=rendezvous,
        rdzv_backend="c10d",
        rdzv_endpoint=rendezvous,
        max_restarts=0,
    )
    try:
        elastic_launch(here, sys.executable)("-m", "accelbench.training.torch.trainer", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        status = int(failure.exitcode)
        if status >= 0:
            return status
        which = f"process {rank}, on {socket.gethostname()}, was killed by {signal.Signals(-status).name}"
        say(f"Initiating shutdown sequence due to lost process: {which}", "ERROR")
        return 128 - status
    except SignalException as error:
        return 128 + int(error.sigval)
    except RendezvousError as error:
        return _end_with_others(error)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Train; return the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = _parser().parse_args(argv)
    try:
        if arguments.nodes > 1 and not arguments.rendezvous:
            _on_each_node(arguments, argv)
        if arguments.nodes * arguments.processes == 1:
            return _train(arguments, shlex.join(argv))
        return _train_together(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _on_each_node(arguments: argparse.Namespace, argv: Sequence[str]) -> NoReturn:
    """Become the program that starts this trainer once on each node of the job."""
    launcher = once_per_node(arguments.nodes)
    _read(arguments)  # to refuse a params file once, and not on each node
    with socket.socket() as free:
        free.bind(("", 0))
        rendezvous = f"{socket.gethostname()}:{free.getsockname()[1]}"
    trainer = [sys.executable, "-m", "accelbench.training.torch.trainer", *argv, "--rendezvous", rendezvous]
    try:
        os.execvp(launcher[0], [*launcher, *trainer])
    except OSError as error:
        why = f"can't be run: {error.strerror}"
        raise UserError(f"{launcher[0]}, which starts the trainer on each node, {why}.") from None


def _train_together(arguments: argparse.Namespace) -> int:
    _read(arguments)  # to refuse a params file once, and not in each process
    own = [str(arguments.params), "--model_dir", str(arguments.model_dir)]
    own += ["--initial_weights", arguments.initial_weights, "--sharding", arguments.sharding]
    own += ["--activation_checkpointing", arguments.activation_checkpointing, *(["--compile"] * arguments.compile)]
    own += ["--device", arguments.device] if arguments.device else []
    if arguments.nodes == 1:
        return run_together(arguments.processes, own)
    if sys.platform == "linux":
        os.sched_setaffinity(0, range(os.cpu_count() or 1))  # mpiexec may have bound its one process to one core
    return run_together(arguments.processes, own, arguments.nodes, arguments.rendezvous)


def _read(arguments: argparse.Namespace) -> Run:
    run = read_run(arguments.params, arguments.device)
    return replace(
        run,
        initial_weights=arguments.initial_weights,
        sharding=arguments.sharding,
        activation_checkpointing=arguments.activation_checkpointing,
        compile=arguments.compile,
    )


def _train(arguments: argparse.Namespace, command: str) -> int:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        die_with_parent()
    run = _read(arguments)
    say(f"Current Working Directory: {Path.cwd()}")
    say(f"Running command: python -m accelbench.training.torch.trainer {command}")
    from accelbench.training.torch.loop import AlreadyTrained, NonFiniteLoss, fit

    try:
        fit(run, arguments.model_dir)
    except AlreadyTrained as error:
        say(f"RuntimeError: {error}", "ERROR")
        return 1
    except NonFiniteLoss as error:
        say(f"Initiating shutdown sequence due to NaN error: {error}", "ERROR")
        return 1
    except (MemoryError, RuntimeError) as error:
        if _is_of_another(error):
            return _end_with_others(error)
        if not _out_of_memory(error):
            raise
        say(
            f"Initiating shutdown sequence due to error: Out of memory on {run.device} with micro batches of "
            f"{run.micro_batch_size} samples; set a smaller csx.performance.micro_batch_size or batch_size, or "
            "the platform's sharding and activation_checkpointing to auto. "
            f"({' '.join(str(error).split())[:200]})",
            "ERROR",
        )
        return 1
    return 0


def _is_of_another(error: BaseException) -> bool:
    """Tell whether the connection to another process was lost, which is the one to say why."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or "gloo" in str(error)


def _end_with_others(error: BaseException) -> int:
    """Say that this process ends because another did; return the exit status."""
    say(f"Lost the connection to another process ({' '.join(str(error).split())[:200]})", "ERROR")
    return 1


def _out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out: torch says so by types and words that differ by device."""
    words = ("out of memory", "not enough memory", "can't allocate memory", "DefaultCPUAllocator")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="torch_trainer", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("params", type=Path, help="params file in ModelZoo's format")
    parser.add_argument("-o", "--model_dir", type=Path, required=True, help="folder for trainer.json and checkpoints")
    parser.add_argument("--processes", type=int, default=1, help="processes that share each batch, one per GPU")
    parser.add_argument("--nodes", type=int, default=1, help="nodes of this job that each have so many processes")
    parser.add_argument("--rendezvous", help=argparse.SUPPRESS)
    parser.add_argument("--device", choices=DEVICES, help="left out: as the params file's backend_type says")
    parser.add_argument("--initial_weights", choices=INITIAL_WEIGHTS, default="normal", help="how they are drawn")
    parser.add_argument("--sharding", choices=FOR_MEMORY, default="none", help="full: each process holds a part")
    parser.add_argument(
        "--activation_checkpointing", choices=FOR_MEMORY, default="none", help="full: of each layer, all but its input"
    )
    parser.add_argument("--compile", action="store_true", help="compile each decoder layer")
    return parser


if __name__ == "__main__":
    sys.exit(main())
