"""Ask pip-audit for known advisories of what is installed, and say plainly where it could not look.

Exit code 1 only for an advisory that .ci/exceptions.yaml does not name. Where the advisory service can't be reached, or
knows none of the packages, the last line says "not audited" and nothing is reported as passed.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml

EXCEPTIONS = Path(__file__).with_name("exceptions.yaml")
COMMAND = ["-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable", "--timeout", "15"]
MAX_SECONDS = 300


def exceptions() -> list[dict[str, Any]]:
    """The advisories that may pass: id, package, reason, tests and the date to look again."""
    return yaml.safe_load(EXCEPTIONS.read_text(encoding="utf-8"))


def judge(printed: str, allowed: Sequence[dict[str, Any]], today: date) -> tuple[int, list[str]]:
    """Exit code and lines for what pip-audit printed as JSON. Raises ValueError where it printed no report."""
    packages = json.loads(printed)["dependencies"]
    looked_at = [package for package in packages if "vulns" in package]
    passed_by = [package["name"] for package in packages if "vulns" not in package]
    by_id = {one["id"]: one for one in allowed}
    lines, found = [], 0
    for package in looked_at:
        for advisory in package["vulns"]:
            names = [advisory["id"], *advisory.get("aliases", [])]
            known = next((by_id[name] for name in names if name in by_id), None)
            if known is None or known["package"] != package["name"]:
                found += 1
                lines.append(f"{package['name']} {package['version']}: {' '.join(names)}, mended in "
                             f"{', '.join(advisory.get('fix_versions', [])) or 'no version yet'}")  # fmt: skip
            else:
                lines.append(f"{package['name']}: {known['id']} excepted: {known['reason']}")
    lines += [
        f"exception {one['id']}: look at it again, due {one['review']}" for one in allowed if one["review"] < today
    ]
    if passed_by:
        lines.append(f"not audited: {len(passed_by)} packages ({', '.join(passed_by)})")
    if not looked_at:
        lines.append("not audited: the advisory service knows none of the packages")
    else:
        lines.append(f"audited: {len(looked_at)} of {len(packages)} packages, {found} advisories without an exception")
    return int(found > 0), lines


def main() -> int:
    """Print what the audit found. Returns the exit code."""
    try:
        run = subprocess.run(
            [sys.executable, *COMMAND], capture_output=True, text=True, timeout=MAX_SECONDS, check=False
        )
        code, lines = judge(run.stdout, exceptions(), datetime.now(UTC).date())
    except subprocess.TimeoutExpired:
        code, lines = 0, [f"not audited: the advisory service did not answer in {MAX_SECONDS} s"]
    except (ValueError, KeyError, TypeError):
        reason = (run.stderr.strip().splitlines() or ["pip-audit printed nothing"])[-1]
        code, lines = 0, [f"not audited: {reason}"]
    sys.stdout.write("\n".join(lines) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
