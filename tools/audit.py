"""Known vulnerabilities of the pinned versions, by pip-audit, where its database can be reached.

    python tools/audit.py PIP_AUDIT constraints.txt

PIP_AUDIT is the program. It calls a version that its database does not know "skipped" and ends with 0 all the same, so
what could not be audited is told from what is sound here. Exits with 1 for a known vulnerability; an audit that was not
possible is skipped, and said.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LIMIT_S = 300.0


def main(program: str, constraints: str) -> int:
    """Audit, print what was found, and return the exit status."""
    command = [program, "--no-deps", "--disable-pip", "--requirement", constraints, "--format", "json"]
    if not Path(program).exists():
        return skipped("it is not installed, for it could not be had")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        dependencies = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return skipped(f"no end after {LIMIT_S:g} s")
    except (ValueError, KeyError):
        return skipped((done.stderr.strip().splitlines() or ["it printed nothing"])[-1][:300])
    text, status = judged(dependencies)
    print(text)
    return status


def skipped(why: str) -> int:
    """Say that nothing was audited; that is no failure."""
    print(f"pip-audit: SKIPPED, nothing was audited: {why}")
    return 0


def judged(dependencies: list[dict[str, Any]]) -> tuple[str, int]:
    """Return what an audit found, in words, and the exit status."""
    unknown = [each["name"] for each in dependencies if "skip_reason" in each]
    bad = [each for each in dependencies if each.get("vulns")]
    audited = len(dependencies) - len(unknown)
    if not audited:
        return f"pip-audit: SKIPPED, nothing was audited: its database knows none of the {len(unknown)} versions", 0
    lines = [
        f"{each['name']} {each['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'no version'}"
        for each in bad
        for found in each["vulns"]
    ]
    lines += [f"not audited, unknown to the database: {', '.join(unknown)}"] if unknown else []
    lines += [f"pip-audit: {len(bad)} of {audited} audited packages have known vulnerabilities"]
    return "\n".join(lines), int(bool(bad))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
