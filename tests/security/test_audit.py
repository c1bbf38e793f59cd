"""The audit of installed packages: what it lets pass, what it reports, and that it never calls silence a pass."""

import ast
import importlib.util
import json
from datetime import date

import pytest

from tests.conftest import ROOT

TODAY = date(2026, 12, 1)


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def report(*packages: dict) -> str:
    return json.dumps({"dependencies": list(packages), "fixes": []})


def package(name: str, *ids: str) -> dict:
    vulns = [{"id": f"PYSEC-{one}", "aliases": [one], "fix_versions": ["9.9"]} for one in ids]
    return {"name": name, "version": "1.0", "vulns": vulns}


SKIPPED = {"name": "jinja2", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def test_each_exception_names_tests_that_there_are(audit):
    allowed = audit.exceptions()
    assert {"CVE-2026-4372", "CVE-2026-5241"} <= {one["id"] for one in allowed}
    for one in allowed:
        assert set(one) == {"id", "package", "reason", "tests", "review"}
        assert one["tests"]
        for test in one["tests"]:
            file, _, name = test.partition("::")
            tree = ast.parse((ROOT / file).read_text())
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test


def test_each_test_that_the_trust_model_names_is_there():
    text = (ROOT / "SECURITY.md").read_text()
    named = [word for word in text.replace("`", " ").split() if word.startswith("tests/")]
    assert len(named) > 10
    for word in named:
        file, _, name = word.rstrip(",.;|").partition("::")
        assert (ROOT / file).exists(), word
        assert not name or f"def {name}(" in (ROOT / file).read_text(), word
    assert all(f"| T{number} |" in text for number in range(1, 15))


def test_an_advisory_without_an_exception_fails(audit):
    code, lines = audit.judge(report(package("requests", "CVE-1")), audit.exceptions(), TODAY)
    assert code == 1
    assert "requests 1.0: PYSEC-CVE-1 CVE-1, mended in 9.9" in lines
    assert lines[-1] == "audited: 1 of 1 packages, 1 advisories without an exception"


def test_an_exception_passes_for_its_own_package_alone(audit):
    allowed = audit.exceptions()
    assert audit.judge(report(package("transformers", "CVE-2026-4372")), allowed, TODAY)[0] == 0
    assert audit.judge(report(package("requests", "CVE-2026-4372")), allowed, TODAY)[0] == 1


def test_what_could_not_be_looked_at_is_never_a_pass(audit):
    code, lines = audit.judge(report(SKIPPED), audit.exceptions(), TODAY)
    assert code == 0
    assert lines[-1].startswith("not audited")
    code, lines = audit.judge(report(SKIPPED, package("requests")), audit.exceptions(), TODAY)
    assert "not audited: 1 packages (jinja2)" in lines
    assert lines[-1] == "audited: 1 of 2 packages, 0 advisories without an exception"


def test_exceptions_come_due(audit):
    lines = audit.judge(report(package("requests")), audit.exceptions(), date(2030, 1, 1))[1]
    assert sum("look at it again" in line for line in lines) == len(audit.exceptions())


@pytest.mark.parametrize("words", ["", "Traceback", "{}", "[]"])
def test_a_service_that_can_not_be_reached_is_said_and_fails_nothing(audit, words, monkeypatch, capsys):
    class Run:
        stdout, stderr = words, "ERROR: ConnectionError\n"

    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: Run)
    assert audit.main() == 0
    assert capsys.readouterr().out == "not audited: ERROR: ConnectionError\n"
