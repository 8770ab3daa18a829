"""What ModelZoo finds late, or never: said before a run waits for its machine.

Facts: ModelZoo 2.6.0 (trainer/utils.py, trainer/validate.py, the data processors' config classes) and the PyPI wheels
cerebras-pytorch and cerebras-appliance 2.6.0 (backend/*.py, cluster_config.py). Checks a params file as data; whether
the machine that trains has the data is that machine's to say.
"""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeGuard

from accelbench.config import LABEL_RULE, LABEL_SIDE
from accelbench.foreign import Tree
from accelbench.store.files import is_there

Severity = Literal["error", "warning"]
Complaint = tuple[Severity, str]
NOT_HERE = "on this machine"
MICRO_BATCH = "csx.performance.micro_batch_size"

BACKEND_KEYS = {
    "CSX": {"backend_type", "artifact_dir", "compile_dir", "compile_only", "validate_only", "cluster_config"},
    "CPU": {"backend_type", "artifact_dir", "mixed_precision"},
    "GPU": {
        "backend_type", "artifact_dir", "enable_distributed", "main_process_id", "dist_backend", "init_method",
        "sync_batchnorm",
    },
}  # fmt: skip
CLUSTER_KEYS = {
    "mgmt_address", "mgmt_namespace", "credentials_path", "num_csx", "max_wgt_servers", "max_act_per_csx",
    "num_workers_per_csx", "cbcore_image", "job_labels", "job_priority", "job_time_sec", "mount_dirs", "python_paths",
    "automount", "mount_all", "disable_mount_check", "disable_version_check", "workflow_id", "notifications",
}  # fmt: skip
# Cerebras/modelzoo: data/nlp/gpt/{GptHDF5MapDataProcessor,config}.py, data/common/h5_map_dataset/dataset.py
# (HDF5DatasetConfig), data/common/{GenericDataProcessor,HDF5IterableDataProcessor,HDF5IterableDataset}.py, of the
# releases about 2.6. One base of the first was not at hand: HDF5DataProcessorConfig, which by its children adds none.
LOADER_KEYS = {
    "GptHDF5MapDataProcessor": {
        "data_processor", "data_dir", "batch_size", "shuffle", "shuffle_seed", "use_worker_cache",
        "max_sequence_length", "data_subset", "mixture", "drop_last", "num_samples", "sort_files", "use_vsl",
        "pad_last", "dataset_map_fn", "data_transforms", "num_workers", "prefetch_factor", "persistent_workers",
    },
    "GptHDF5DataProcessor": {
        "data_processor", "data_dir", "batch_size", "shuffle", "shuffle_seed", "shuffle_buffer", "num_workers",
        "drop_last", "prefetch_factor", "persistent_workers", "use_vsl", "features_list", "max_sequence_length",
    },
}  # fmt: skip
REQUIRED_KEYS = {"GptHDF5DataProcessor": ("data_dir", "batch_size", "shuffle")}
DEPRECATED_KEYS = {
    "GptHDF5MapDataProcessor": {"vocab_size", "repeat"},
    "GptHDF5DataProcessor": {"vocab_size", "repeat", "use_multiple_workers"},
}
LOOP_COUNTS = ("max_steps", "num_steps", "num_epochs", "steps_per_epoch", "eval_steps", "grad_accum_steps")
CLUSTER_COUNTS = ("num_csx", "num_workers_per_csx", "job_time_sec")


def check_params(params: Tree) -> list[Complaint]:
    """Return what is wrong with a params file (ModelZoo's format), and what deserves a look."""
    return list(_findings(params))


def undivided(params: Tree, batch_size: int) -> list[str]:
    """Return a line for each micro batch of a params file that does not divide the batch size."""
    return [
        f"{key} is {size}; it must divide the batch, {batch_size} samples: set training.micro_batch_size, or use "
        "another batch size"
        for here, trainer in trainers(params)
        for key, size in micro_batch_settings(section(trainer, "init"), f"{here}.init")
        if _is_count(size) and batch_size % size
    ]


def missing_folders(loader: Tree, here: str) -> str | None:
    """Say which folders of a data loader are not here, those of a mixture too; None when all are."""
    mixture = loader.get("mixture")
    parts = [part.get("data_dir") for part in mixture if isinstance(part, dict)] if isinstance(mixture, list) else []
    found = [loader.get("data_dir"), *parts]
    folders = [folder for each in found for folder in (each if isinstance(each, list) else [each])]
    gone = [folder for folder in folders if isinstance(folder, str) and not is_there(Path(folder))]
    key = f"{here}.{'mixture' if any(parts) else 'data_dir'}"
    return f"{key}: {', '.join(dict.fromkeys(gone))} {'is' if len(gone) == 1 else 'are'}n't" if gone else None


def goes_on_until(params: Tree) -> int | None:
    """Return max_steps of a run that, interrupted, goes on from its last checkpoint; None when it begins anew.

    Of several trainers that train in turn each has its own steps, so that a checkpoint does not say how far they are.
    """
    several = list(trainers(params))
    if len(several) != 1:
        return None
    [(here, trainer)] = several
    steps = section(trainer, "init", "loop").get("max_steps")
    saves = section(trainer, "init", "checkpoint").get("steps")
    return steps if saves and _is_count(steps) and not list(_check_resuming(trainer, here)) else None


def trainers(params: Tree) -> Iterator[tuple[str, Any]]:
    """Yield each trainer and its key: `trainer` may be a mapping, or a list of {trainer: {…}} that train in turn."""
    found = params.get("trainer")
    if isinstance(found, list):
        for n, item in enumerate(found):
            yield f"trainer[{n}].trainer", item.get("trainer") if isinstance(item, dict) else item
    else:
        yield "trainer", found if found is not None else {}


def _findings(params: Tree) -> Iterator[Complaint]:
    several = list(trainers(params))
    if not several:
        yield "error", "trainer is an empty list; write at least one trainer"
    for here, trainer in several:
        if isinstance(trainer, dict):
            yield from _check_trainer(trainer, here)
        else:
            yield "error", f"{here} must be a mapping"
    if len(several) > 1:
        yield (
            "warning",
            (
                f"trainer lists {len(several)}: each trains max_steps, so one that loads the checkpoint of the one "
                "before has no steps left"
            ),
        )


def _check_trainer(trainer: Tree, here: str) -> Iterator[Complaint]:
    init = section(trainer, "init")
    cluster = section(init, "backend", "cluster_config")
    yield from _check_backend(section(init, "backend"), f"{here}.init.backend")
    yield from _check_cluster(cluster, f"{here}.init.backend.cluster_config")
    yield from _check_loop(init, f"{here}.init")
    yield from _check_evaluation(trainer, here)
    yield from _check_micro_batch(init, f"{here}.init")
    if section(init, "checkpoint").get("steps"):
        yield from _check_resuming(trainer, here)
    num_csx = cluster.get("num_csx")
    for key, loader in _loaders(trainer, here):
        yield from _check_loader(loader, key, num_csx if _is_count(num_csx) else 1)


# --- where and how it runs ------------------------------------------------------------------------------------


def _check_backend(backend: Tree, here: str) -> Iterator[Complaint]:
    kind = str(backend.get("backend_type") or "CSX").upper()
    if kind not in BACKEND_KEYS:
        yield "error", f"{here}.backend_type is {backend['backend_type']}; it must be CSX, CPU or GPU"
        return
    known = set().union(*BACKEND_KEYS.values())
    for key in backend:
        if str(key).startswith("csx."):
            yield (
                "warning",
                (
                    f"{here}.{key} may do nothing: ModelZoo ignores it silently, although files of 2.10 have such "
                    "keys; its flags are in the callbacks ScopedTrainFlags and GlobalFlags"
                ),
            )
        elif key in CLUSTER_KEYS:
            yield "error", f"{here}.{key} does nothing; write {here}.cluster_config.{key}"
        elif key not in known:
            yield "error", f"{here}.{key} does nothing: ModelZoo ignores it silently; {_remedy(key, known)}"
        elif key not in BACKEND_KEYS[kind]:
            yield "warning", f"{here}.{key} does nothing with backend_type {kind}"


def _check_cluster(cluster: Tree, here: str) -> Iterator[Complaint]:
    for key in cluster:
        if key not in CLUSTER_KEYS:
            yield "error", f"{here}.{key} is not a key; {_remedy(key, CLUSTER_KEYS)}"
    yield from _check_counts(cluster, CLUSTER_COUNTS, here)
    labels = cluster.get("job_labels") or []
    if not isinstance(labels, list):
        yield "error", f"{here}.job_labels must be a list of key=value"
        return
    for n, label in enumerate(labels):
        sides = label.split("=") if isinstance(label, str) else []
        if len(sides) != 2:
            yield "error", f"{here}.job_labels[{n}] is {label!r}; it must be key=value"
        elif not all(map(LABEL_SIDE.fullmatch, sides)):
            yield "error", f"{here}.job_labels[{n}] is {label!r}; {LABEL_RULE}"


# --- how long it trains ---------------------------------------------------------------------------------------


def _check_loop(init: Tree, here: str) -> Iterator[Complaint]:
    loop, logging, checkpoint = (section(init, key) for key in ("loop", "logging", "checkpoint"))
    yield from _check_counts(loop, LOOP_COUNTS, f"{here}.loop")
    yield from _check_counts(logging, ("log_steps",), f"{here}.logging")
    if isinstance(checkpoint.get("steps"), int) and checkpoint["steps"] != 0:  # 0: none; it may also be a schedule
        yield from _check_counts(checkpoint, ("steps",), f"{here}.checkpoint")
    steps, log_steps = loop.get("max_steps"), logging.get("log_steps")
    if _is_count(steps) and _is_count(log_steps) and log_steps * 2 > steps:
        yield (
            "warning",
            (
                f"{here}.logging.log_steps is {log_steps} in {steps} steps: too few progress lines for a rate; set "
                f"training.log_steps (or this size's log_steps) to {max(1, steps // 5)} or less"
            ),
        )
    if loop.get("num_epochs") is not None and loop.get("num_steps") is not None:
        yield "error", f"{here}.loop has num_epochs and num_steps; ModelZoo takes one of the two"
    if loop.get("num_epochs") is not None:
        yield "warning", f"{here}.loop.num_epochs may end the run before max_steps; remove it"
    num_steps = loop.get("num_steps")
    if _is_count(num_steps) and _is_count(steps) and num_steps < steps:
        yield "warning", f"{here}.loop.num_steps ends the run after {num_steps} of {steps} steps; remove it"


def _check_resuming(trainer: Tree, here: str) -> Iterator[Complaint]:
    """Yield what keeps ModelZoo from loading the last checkpoint of its model_dir (trainer.py, load_checkpoint)."""
    anew = "an interrupted run starts over although it saves checkpoints; remove the key"
    if section(trainer, "init", "checkpoint").get("autoload_last_checkpoint") is False:
        yield "warning", f"{here}.init.checkpoint.autoload_last_checkpoint is false: {anew}"
    if "ckpt_path" in section(trainer, "fit"):
        yield "warning", f"{here}.fit.ckpt_path is what every start loads: {anew}"


def _check_evaluation(trainer: Tree, here: str) -> Iterator[Complaint]:
    frequency = section(trainer, "init", "loop").get("eval_frequency")
    if frequency and not section(trainer, "fit").get("val_dataloader"):
        yield (
            "warning",
            f"{here}.init.loop.eval_frequency is {frequency}, and there is no {here}.fit.val_dataloader: "
            "nothing will be evaluated",
        )


def _check_micro_batch(init: Tree, here: str) -> Iterator[Complaint]:
    for key, size in micro_batch_settings(init, here):
        if isinstance(size, int | float) and not _is_count(size):
            yield "error", f"{key} is {size}; it must be an integer, 1 or more, or auto, explore, none"


def micro_batch_settings(init: Tree, here: str) -> Iterator[tuple[str, Any]]:
    """Yield the micro batches of a trainer, each with its key."""
    callbacks = init.get("callbacks")
    for n, callback in enumerate(callbacks if isinstance(callbacks, list) else []):
        for kind in ("ScopedTrainFlags", "GlobalFlags"):
            flags = section(callback, kind)
            if MICRO_BATCH in flags:
                yield f"{here}.callbacks[{n}].{kind}.{MICRO_BATCH}", flags[MICRO_BATCH]


def micro_batch_of(params: Tree, batch_size: int) -> int:
    """Return the micro batch that a params file leads to where the trainer takes whole batches otherwise."""
    settings = (
        size
        for here, trainer in trainers(params)
        for _, size in micro_batch_settings(section(trainer, "init"), here)
        if type(size) is int
    )
    return next(settings, batch_size)


# --- what it reads ----------------------------------------------------------------------------------------------


def _loaders(trainer: Tree, here: str) -> Iterator[tuple[str, Tree]]:
    """Yield all data loaders: ModelZoo checks them all before it trains, those of other stages too."""
    for stage, key in (
        ("fit", "train_dataloader"),
        ("fit", "val_dataloader"),
        ("validate", "val_dataloader"),
        ("validate_all", "val_dataloaders"),
    ):
        found = section(trainer, stage).get(key)
        if isinstance(found, dict):
            yield f"{here}.{stage}.{key}", found
        for n, loader in enumerate(found if isinstance(found, list) else []):
            if isinstance(loader, dict):
                yield f"{here}.{stage}.{key}[{n}]", loader


def _check_loader(loader: Tree, here: str, num_csx: int) -> Iterator[Complaint]:
    yield from _check_counts(loader, ("batch_size",), here)
    size = loader.get("batch_size")
    if _is_count(size) and size < num_csx:
        yield "error", f"{here}.batch_size is {size}; it must be at least num_csx, which is {num_csx}"
    processor = str(loader.get("data_processor"))
    if processor == "GptHDF5DataProcessor" and _is_count(size) and size % num_csx:
        yield "error", f"{here}.batch_size is {size}; {processor} takes multiples of num_csx, which is {num_csx}"
    if processor in LOADER_KEYS:
        known, deprecated = LOADER_KEYS[processor], DEPRECATED_KEYS[processor]
        for key in loader:
            if key in deprecated:
                yield "warning", f"{here}.{key} is deprecated and does nothing; remove it"
            elif key not in known:
                yield "error", f"{here}.{key} is not a key of {processor}; {_remedy(key, known)}"
        for key in REQUIRED_KEYS.get(processor, ()):
            if loader.get(key) is None:
                yield "error", f"{here}.{key} is missing; {processor} needs it"
        if processor == "GptHDF5MapDataProcessor" and (loader.get("data_dir") is None) == (
            loader.get("mixture") is None
        ):
            yield "error", f"{here} must have data_dir or mixture: exactly one of the two"
    if missing := missing_folders(loader, here):
        them = "it" if missing.endswith("isn't") else "them"
        yield "warning", f"{missing} {NOT_HERE}; the machine that trains must have {them}"


# --- helpers ----------------------------------------------------------------------------------------------------


def _check_counts(holder: Tree, keys: tuple[str, ...], here: str) -> Iterator[Complaint]:
    for key in keys:
        value = holder.get(key)
        if value is not None and not _is_count(value):
            yield "error", f"{here}.{key} is {value!r}; it must be an integer, 1 or more"


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def section(tree: Tree, *keys: str) -> Tree:
    """Return a section of the file; an empty one where there is none."""
    node: Any = tree
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else {}


def _remedy(key: Any, known: set[str]) -> str:
    close = difflib.get_close_matches(str(key), sorted(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else "remove it"
