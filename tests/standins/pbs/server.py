"""A stand-in for an OpenPBS 23.06 server: jobs as JSON files in STANDIN_PBS, and what the real one was seen to do.

    STANDIN_PBS/jobs/{number}.json   a job's attributes, as `qstat -f -F json` shows them
    STANDIN_PBS/calls.jsonl          every command line that it got
    STANDIN_PBS/{stopped,unreachable,broken,slow,failing,expired}   when such a file is there: commands hang, get no
                                     connection, qstat prints a number without its quotes, qdel takes five seconds, no
                                     job can be started, so that it is held, the walltime of all jobs is over

There is one node. Jobs run there at once, unless one of them has it for itself (place=excl), with the login environment
and nothing else. Never used unless a test names it.
"""

import contextlib
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(os.environ["STANDIN_PBS"])
JOBS = ROOT / "jobs"
SERVER = "pbs-01.example"
QUEUES = ("by-gpu", "debug", "workq")
MINUTE_S = float(os.environ.get("STANDIN_MINUTE_S", "60"))
UNKNOWN, UNREACHABLE = 153, 255


def called(arguments):
    """Note the call; hang or fail as a server does that is stopped or can't be reached."""
    JOBS.mkdir(parents=True, exist_ok=True)
    with (ROOT / "calls.jsonl").open("a") as stream:
        stream.write(json.dumps([Path(sys.argv[0]).name, *arguments]) + "\n")
    if (ROOT / "stopped").exists():
        time.sleep(600)
    if (ROOT / "unreachable").exists():
        print(f"Connection refused\n{Path(sys.argv[0]).name}: cannot connect to server {SERVER} (errno=15010)",
              file=sys.stderr)  # fmt: skip
        if Path(sys.argv[0]).name == "qstat":
            print(json.dumps({"timestamp": 1, "pbs_version": "23.06.06", "pbs_server": SERVER}, indent=4))
        sys.exit(UNREACHABLE)


def number(job):
    return job.partition(".")[0]


def read(job):
    try:
        return json.loads((JOBS / f"{number(job)}.json").read_text())
    except OSError:
        return None


def write(job, facts):
    partial = JOBS / f".{number(job)}.{os.getpid()}"
    partial.write_text(json.dumps(facts))
    partial.replace(JOBS / f"{number(job)}.json")


def enqueue(facts, script):
    taken = [int(path.stem) for path in JOBS.glob("[0-9]*.json")]
    job = f"{max(taken, default=100) + 1}.{SERVER}"
    write(job, facts)
    (JOBS / f"{number(job)}.sh").write_text(Path(script).read_text())
    subprocess.Popen([sys.executable, __file__, "run", job], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    return job


def run(job):
    """Run one job to its end, with the environment of a login and not that of the submission."""
    facts = read(job)
    if (ROOT / "failing").exists():
        write(job, {**facts, "job_state": "H", "Hold_Types": "s", "run_count": 21,
                    "comment": "job held, too many failed attempts to run"})  # fmt: skip
        return
    while not has_room(job, facts):
        time.sleep(0.05)
        if (facts := read(job))["job_state"] == "F":  # deleted before it started
            return
    home = pwd.getpwuid(os.getuid()).pw_dir
    nodes = JOBS / f"{number(job)}.nodes"
    nodes.write_text("node-7\n" * int(facts["Resource_List"].get("select", "1").partition(":")[0]))
    path = f"{Path(__file__).parents[1] / 'mpi'}:/usr/bin:/bin"
    environment = {"HOME": home, "USER": pwd.getpwuid(os.getuid()).pw_name, "PATH": path,
                   "PBS_JOBID": job, "PBS_NODEFILE": str(nodes), "STANDIN_PBS_JOB": str(JOBS / number(job)),
                   "PBS_O_WORKDIR": facts["Variable_List"]["PBS_O_WORKDIR"],
                   "ACCELBENCH_HOST_LOCK": os.environ.get("ACCELBENCH_HOST_LOCK", "accelbench-stand-in")}  # fmt: skip
    output = Path(facts["Output_Path"].partition(":")[2]) / f"{job}.OU"
    with output.open("wb") as stream:
        child = subprocess.Popen(
            ["/bin/sh", str(JOBS / f"{number(job)}.sh")],
            env=environment,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    where = "(node-7:ncpus=8)"
    facts |= {"job_state": "R", "substate": 42, "session_id": child.pid, "run_count": 1,
              "comment": f"Job run at Mon Nov 23 at 12:00 on {where}"}  # fmt: skip
    write(job, facts)
    hours, minutes, _ = facts["Resource_List"]["walltime"].split(":")
    end_s = time.monotonic() + (int(hours) * 60 + int(minutes)) * MINUTE_S
    elsewhere = {}
    while (status := child.poll()) is None and time.monotonic() < end_s and not (ROOT / "expired").exists():
        serve_other_nodes(job, elsewhere)
        time.sleep(0.02)
    how = "failed" if status else "finished"
    if status is None:
        end(child.pid)
        child.wait()
        status, how = -29, "exceeded resource walltime"
    deleted = (read(job) or {}).get("deleted")
    if deleted:
        status, how = 271, "terminated"
    write(job, {**facts, "job_state": "F", "substate": 92 if status == 0 else 93,
                "Exit_status": 128 - status if -29 < status < 0 else status,
                "comment": f"{facts['comment']} and {how}"})  # fmt: skip


def serve_other_nodes(job, elsewhere):
    """Start what a job's mpiexec asks for on its other nodes, in sessions that the job's end does not reach."""
    for asked in JOBS.glob(f"{number(job)}-node*.asked"):
        call = json.loads(asked.read_text())
        with Path(call.pop("output")).open("ab") as output:
            elsewhere[asked] = subprocess.Popen(
                **call, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        asked.with_suffix(".started").write_text(str(elsewhere[asked].pid))
        asked.unlink()
    for asked, process in elsewhere.items():
        if process.poll() is not None:
            asked.with_suffix(".ended").write_text(str(process.returncode))


def has_room(job, facts):
    """Tell whether the node takes a job beside those that run there."""
    others = [read(path.stem) for path in JOBS.glob("[0-9]*.json") if path.stem != number(job)]
    running = [other for other in others if other["job_state"] == "R"]
    return not any(is_exclusive(other) for other in [facts, *running]) or not running


def is_exclusive(facts):
    return "excl" in facts["Resource_List"].get("place", "").split(":")


def end(session):
    """Signal all of a session as PBS does: SIGTERM, then SIGKILL."""
    for sent, wait_s in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 0.0)):
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, ValueError):
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[3]) == session:
                    os.kill(int(path.parent.name), sent)
        time.sleep(wait_s)


if __name__ == "__main__":
    run(sys.argv[2])
