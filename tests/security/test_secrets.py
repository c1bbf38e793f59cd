"""A real tiny sweep with secrets in the environment: they turn up in no file that it, Ray or the report writes."""

import base64
import json
import os
import secrets
import stat
import subprocess
import sys
from pathlib import Path

import matplotlib
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.__main__ import main as analyse
from tests.conftest import ROOT
from tests.support.canaries import holding

NAMES = (
    "HF_TOKEN",
    "WANDB_API_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "PGPASSWORD",
    "XQ_RANDOM_NAME",
)
SWEEP = """
import json, runpy, sys, urllib.error, urllib.request
import psutil
from tunekit.runner import session
found = session.connect()
def answer(headers):
    asked = urllib.request.Request(found.dashboard + "/api/jobs/", headers=headers)
    try:
        return urllib.request.urlopen(asked, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code
me = psutil.Process()
ports = [one.laddr.ip for process in (me, *me.children(recursive=True)) for one in process.net_connections("inet")
         if one.status == "LISTEN"]
facts = {"dashboard": found.dashboard, "ips": ports, "none": answer({}), "wrong": answer({"Authorization": "Bearer x"}),
         "open": session.answers_without_token(found.dashboard)}
open(sys.argv.pop(1), "w").write(json.dumps(facts))
sys.argv.pop(0)
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    session.disconnect(found)
"""


def test_the_scan_finds_a_secret_however_it_is_spelled(tmp_path):
    secret = secrets.token_hex(16)
    (tmp_path / "a.txt").write_text(f"x={secret}")
    (tmp_path / "b.json").write_text(json.dumps(f"gA{secret}".encode().hex()))
    (tmp_path / "c.bin").write_bytes(base64.b64encode(f"password {secret}!".encode()))
    pq.write_table(pa.table({"error": [secret]}), tmp_path / "d.parquet", compression="zstd")
    (tmp_path / "e.txt").write_text("nothing")
    assert sorted(holding(tmp_path, [secret])) == ["a.txt", "b.json", "c.bin", "d.parquet"]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> tuple[Path, dict[str, str], dict]:
    """A folder with the store, the home, Ray's own files and what was printed; the secrets; what Ray answered."""
    folder = tmp_path_factory.mktemp("s")
    canaries = {name: secrets.token_hex(16) for name in NAMES}
    url = f"postgresql://me:{canaries['PGPASSWORD']}@db/x"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "HF_"))}
    environment = {**kept, **canaries, "DATABASE_URL": url, "HF_HUB_OFFLINE": "1", "RAY_worker_niceness": "0"}
    environment |= {"HOME": str(folder), "RAY_TMPDIR": str(folder / "r"), "MPLCONFIGDIR": matplotlib.get_cachedir()}
    (folder / "r").mkdir()
    arguments = [folder / "facts.json", ROOT / "sweeps" / "main_grid.py", "--preset", "demo", "--models", "tiny-bert"]
    arguments += ["--methods", "lora", "full", "--learning-rate", "full=1e30", "--seeds", "1", "--train-limit", "48"]
    arguments += ["--epochs", "1", "--storage", folder / "store"]
    run = subprocess.run(
        [sys.executable, "-c", SWEEP, *map(str, arguments)],
        capture_output=True, text=True, env=environment, cwd=ROOT, timeout=280, check=False,
    )  # fmt: skip
    (folder / "printed.txt").write_text(run.stdout + run.stderr)
    assert run.returncode == 1, run.stderr[-2000:]  # one trial diverges: its error is written too
    return folder, canaries, json.loads((folder / "facts.json").read_text())


@pytest.mark.ray
@pytest.mark.faults
@pytest.mark.timeout(300)
def test_no_secret_turns_up_in_store_logs_or_report(sweep, capsys):
    folder, canaries, _ = sweep
    assert analyse([str(folder / "store" / "demo"), "--out", str(folder / "report")]) == 0
    printed = capsys.readouterr()
    (folder / "analysis.txt").write_text(printed.out + printed.err)
    assert len(list((folder / "store").rglob("*.json"))) > 5
    assert holding(folder, canaries.values()) == []
    token = (folder / ".ray" / "auth_token").read_text()
    assert holding(folder, [token]) == [".ray/auth_token"]


@pytest.mark.ray
@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_ray_of_ours_asks_for_a_token_that_only_its_owner_reads_and_listens_on_loopback(sweep):
    folder, _, facts = sweep
    assert stat.S_IMODE((folder / ".ray" / "auth_token").stat().st_mode) == 0o600
    assert facts["dashboard"].startswith("http://127.0.0.1:")
    assert (facts["none"], facts["wrong"], facts["open"]) == (401, 403, False)
    assert len(facts["ips"]) > 5
    assert {ip.removeprefix("::ffff:") for ip in facts["ips"]} <= {"127.0.0.1", "::1"}
