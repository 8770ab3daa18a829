"""The script that Snakemake hands over: a `# properties = {…}` line in JSON that says which job it is."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelbench.errors import UserError

HEAD = "# properties = "
DIGEST_DIGITS = 9  # with five letters and a dash 15 characters: the longest name that every PBS takes


@dataclass(frozen=True, slots=True)
class JobScript:
    """One job of the workflow, as its script names it."""

    path: Path
    rule: str
    wildcards: dict[str, str]
    spec: str
    logs: list[str]
    outputs: list[str]
    resources: dict[str, Any]

    @property
    def log(self) -> str | None:
        """The rule's log file."""
        return self.logs[0] if self.logs else None

    def name(self, workdir: Path) -> str:
        """Return the job's name in PBS: the same for the same rule, wildcards and spec in the same folder."""
        identity = json.dumps([str(workdir), self.rule, self.wildcards, self.spec], sort_keys=True)
        return f"{self.rule[:5]}-{hashlib.sha256(identity.encode()).hexdigest()[:DIGEST_DIGITS]}"


def read_jobscript(path: Path) -> JobScript:
    """Read what a job script says of its job. Raises UserError for a script that is none of Snakemake's."""
    for line in path.read_text().splitlines():
        if line.startswith(HEAD):
            properties = json.loads(line.removeprefix(HEAD))
            return JobScript(
                path=path,
                rule=properties["rule"],
                wildcards=properties["wildcards"],
                spec=str(properties.get("params", {}).get("spec", "")),
                logs=properties["log"],
                outputs=properties["output"] or [],
                resources=properties["resources"],
            )
    raise UserError(f"{path} has no line `{HEAD}…`; submit takes the job scripts that Snakemake writes.")
