"""Measurements: finished once, kept in the archive, restored, refused when they are of another spec."""

import getpass
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from accelbench.errors import UserError
from accelbench.plan import measurement, specs
from accelbench.plan.measurement import check, finish, how_to_measure, restore, share_archive
from accelbench.store import paths

SPEC = specs.canonical({"kind": "train", "settings": {"max_steps": 100}, "batch_size": 4})
FOLDER = Path("results/training/cpu/bs4/r1")
MEASURER = """
import sys
from pathlib import Path
from accelbench.plan.measurement import measuring
with measuring(Path(sys.argv[1]), shares_host=sys.argv[2] == "shares"):
    print("measuring", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACCELBENCH_WORKFLOW_PID", raising=False)
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def measure(log: str = "a log", spec: str = SPEC) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "run.log").unlink(missing_ok=True)
    (FOLDER / "run.log").write_text(log)
    finish(FOLDER, spec, ["run.log"])


def archived(spec: str = SPEC) -> Path:
    return paths.ARCHIVE / specs.digest(spec)


def forget() -> None:
    for path in FOLDER.iterdir():
        path.unlink()


def test_a_finished_measurement_says_what_was_measured_and_when() -> None:
    measure()
    record = check(FOLDER, SPEC)
    assert record["spec"] == json.loads(SPEC)
    assert record["spec_digest"] == specs.digest(SPEC)
    assert record["raw_sha256"].keys() == {"run.log"}
    assert record["measured_at"] and record["restored_at"] is None


def test_the_archive_keeps_a_copy_that_no_damage_reaches() -> None:
    measure()
    assert {path.name for path in archived().iterdir()} == {"measured.json", "run.log"}
    os.truncate(FOLDER / "run.log", 0)
    assert restore(FOLDER, SPEC)
    os.truncate(FOLDER / "run.log", 2)
    assert (archived() / "run.log").read_text() == "a log"


def test_the_raw_files_are_on_disk_before_measured_json_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[Path, bool]] = []
    monkeypatch.setattr(measurement, "sync", lambda path: synced.append((path, (FOLDER / "measured.json").exists())))
    measure()
    assert synced == [(FOLDER / "run.log", False)]
    forget()
    assert restore(FOLDER, SPEC)
    assert synced[1:] == [(FOLDER / "run.log", False)]


def test_the_archive_respects_the_umask() -> None:
    mask = os.umask(0o077)
    try:
        measure()
    finally:
        os.umask(mask)
    modes = {path.stat().st_mode & 0o077 for path in (paths.ARCHIVE, archived(), *archived().iterdir())}
    assert modes == {0}


def test_measuring_the_same_spec_again_replaces_what_is_kept() -> None:
    measure("first")
    measure("second")
    assert (archived() / "run.log").read_text() == "second"
    assert [path.name for path in paths.ARCHIVE.iterdir()] == [archived().name]


def test_restoring_brings_the_files_back_and_says_when_they_were_measured(capsys: pytest.CaptureFixture[str]) -> None:
    measure()
    measured_at = check(FOLDER, SPEC)["measured_at"]
    forget()
    assert restore(FOLDER, SPEC)
    assert (FOLDER / "run.log").read_text() == "a log"
    record = check(FOLDER, SPEC)
    assert record["measured_at"] == measured_at and record["restored_at"]
    assert capsys.readouterr().out == f"{FOLDER}: measured on {measured_at}, restored from {archived()}.\n"


def test_restoring_replaces_another_specs_files_and_leaves_their_archive_alone() -> None:
    other = specs.canonical({"kind": "other"})
    measure("mine")
    measure("other's", other)
    assert restore(FOLDER, SPEC)
    assert (FOLDER / "run.log").read_text() == "mine"
    assert (archived(other) / "run.log").read_text() == "other's"


def test_nothing_is_restored_for_a_spec_that_was_never_measured() -> None:
    assert not restore(FOLDER, SPEC)
    assert not FOLDER.exists()


@pytest.mark.parametrize("file", ["run.log", "measured.json"])
@pytest.mark.parametrize("content", ["", "{}", "another log", None])
def test_a_tampered_archive_is_not_restored(file: str, content: str | None) -> None:
    measure()
    forget()
    (archived() / file).unlink()
    if content is not None:
        (archived() / file).write_text(content)
    assert not restore(FOLDER, SPEC)
    assert not list(FOLDER.iterdir())


def test_a_result_of_another_spec_is_refused_by_file_and_key() -> None:
    measure()
    now = specs.canonical({"kind": "train", "settings": {"max_steps": 200, "log_steps": 5}, "batch_size": 4})
    with pytest.raises(UserError) as error:
        check(FOLDER, now)
    assert str(error.value).startswith(
        f"{FOLDER}/measured.json was measured with another spec: settings.log_steps was default, the config says 5; "
        "settings.max_steps was 100, the config says 200. `snakemake --cores 4 --forcerun "
    )


def test_many_differences_are_counted() -> None:
    measure(spec=specs.canonical({str(n): 1 for n in range(9)}))
    with pytest.raises(UserError, match=r"0 was 1.*2 was 1, the config says 2; and 6 more\. `snakemake"):
        check(FOLDER, specs.canonical({str(n): 2 for n in range(9)}))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"is missing\. `snakemake --cores 4 [^-]"),
        *[(text, r"is broken\. `.* --forcerun ") for text in ("", "{", "[]", "{}", "null")],
        ('{"spec": 1}', "was measured with another spec"),
    ],
)
def test_a_missing_or_broken_result_is_refused_in_one_line(content: str | None, said: str) -> None:
    FOLDER.mkdir(parents=True)
    if content is not None:
        (FOLDER / "measured.json").write_text(content)
    with pytest.raises(UserError, match=rf"^{FOLDER}/measured\.json {said}[^\n]*$"):
        check(FOLDER, SPEC)


@pytest.mark.parametrize("content", [None, "", "a lo", "a log and more"])
def test_a_raw_file_that_is_not_as_it_was_measured_is_refused(content: str | None) -> None:
    measure()
    (FOLDER / "run.log").unlink()
    if content is not None:
        (FOLDER / "run.log").write_text(content)
    with pytest.raises(UserError, match=rf"^{FOLDER}/run\.log was deleted or changed .* --forcerun [^\n]*$"):
        check(FOLDER, SPEC)


@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [
        (
            ("a", "alone"),
            ("b", "alone"),
            "another measurement (process {pid} of {user}, in {a}) runs on this machine; waiting for it to end.\n",
        ),
        (("a", "shares"), ("a", "alone"), "a: another process is measuring this; waiting until it ends.\n"),
        (("a", "shares"), ("b", "alone"), "measuring\n"),
    ],
)
def test_a_second_process_waits_for_the_host_or_the_folder(
    first: tuple[str, str], second: tuple[str, str], waits: str
) -> None:
    with start(*first) as one:
        assert line(one) == "measuring\n"
        waits = waits.format(pid=one.pid, user=getpass.getuser(), a=Path("a").absolute())
        with start(*second) as two:
            assert line(two) == waits
            one.kill()
            assert waits == "measuring\n" or line(two) == "measuring\n"
            two.kill()


def start(folder: str, sharing: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MEASURER, folder, sharing]
    environment = {**os.environ, "PYTHONPATH": str(Path(measurement.__file__).parents[2])}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_the_host_and_versions_are_recorded_where_known() -> None:
    assert measurement.host()["cores"] >= 1
    assert measurement.versions("pydantic", "no-such-package")["no-such-package"] is None


def test_what_takes_a_node_of_its_own_is_measured_by_the_clusters_profile(tmp_path: Path) -> None:
    here, there = (how_to_measure(tmp_path, "the node", profile) for profile in (None, "slurm"))
    assert here.startswith("`snakemake --cores 4 ") and "profile" not in here
    assert there.startswith("`snakemake --profile profiles/slurm ")


def test_in_a_working_directory_of_its_own_commands_name_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "INSTALLATION", Path("/opt/it's here"))
    Path("config.yaml").touch()
    said = how_to_measure(Path("r1/measured.json"), profile="slurm")
    command = shlex.split(said.split("`")[1])
    assert command == [
        *("snakemake", "-s", "/opt/it's here/Snakefile", "--profile", "/opt/it's here/profiles/slurm"),
        "r1/measured.json",
    ]


def test_the_archive_can_be_shared_and_left_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    share_archive("shared")
    assert paths.ARCHIVE.resolve() == tmp_path / "shared"
    share_archive("shared")
    share_archive(None)
    assert not paths.ARCHIVE.exists()


def test_measurements_in_an_archive_of_its_own_are_never_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command in the message moves them into the shared one."""
    monkeypatch.chdir(tmp_path)
    (paths.ARCHIVE / "0123").mkdir(parents=True)
    with pytest.raises(UserError, match="holds measurements") as said:
        share_archive("the shared one")
    subprocess.run(str(said.value).split("`")[1], shell=True, check=True)
    share_archive("the shared one")
    assert (paths.ARCHIVE / "0123").is_dir() and Path("the shared one/0123").is_dir()


def test_two_folders_may_finish_the_same_measurement_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("r1")
    folder.mkdir()
    (folder / "raw").write_text("x")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda *_, **__: None)  # the other comes between clearing and renaming
        for _ in range(2):
            finish(folder, "{}", ["raw"])
    finish(folder, "{}", ["raw"])
    assert restore(Path("r2"), "{}")
