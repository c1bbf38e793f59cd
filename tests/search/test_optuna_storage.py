"""Where studies are kept: journal, sqlite, postgresql; damage and what can't be reached in one line."""

import importlib.util
from dataclasses import replace

import optuna
import pytest

from tests.support.search_simulation import Simulation, plan_for
from tunekit.errors import UserError
from tunekit.search.optuna_storage import JOURNAL, check_url, open_storage, redacted
from tunekit.search.study import Study
from tunekit.storage.files import copy_folder
from tunekit.storage.lease import Superseded, acquire
from tunekit.storage.paths import location


@pytest.mark.slow
def test_sqlite_keeps_a_study_too(tmp_path):
    url = f"sqlite:///{tmp_path}/studies.db"
    plan = plan_for(trials=3)
    first = Study(plan, open_storage(url, tmp_path), "sweep")
    asked = first.ask()
    assert asked.number == 0
    again = Study(plan, open_storage(url, tmp_path), "sweep")
    assert again.requeue_interrupted() == 1
    taken = again.ask()
    assert (taken.number, taken.specs) == (0, asked.specs)
    assert optuna.load_study(study_name=f"sweep/{plan.key}", storage=url).trials[0].state.name == "FAIL"


def test_a_torn_last_line_is_cut_and_a_damaged_one_is_named(tmp_path):
    plan = plan_for(trials=3)
    unbroken = Simulation(tmp_path, [plan]).run()
    journal = tmp_path / JOURNAL
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "work')
    assert Study(plan, open_storage(None, tmp_path), "sweep").summary() == unbroken[0]
    lines = journal.read_bytes().split(b"\n")
    journal.write_bytes(b"\n".join([*lines[:3], b"{torn", *lines[3:]]))
    with pytest.raises(UserError, match=r"study.journal is damaged"):
        open_storage(None, tmp_path)


@pytest.mark.slow
def test_a_lock_that_a_killed_driver_left_is_broken(tmp_path, monkeypatch):
    monkeypatch.setattr("tunekit.search.optuna_storage.LOCK_SECONDS", 3)
    monkeypatch.chdir(tmp_path)
    open_storage(None, tmp_path)
    (tmp_path / f"{JOURNAL}.lock").symlink_to((tmp_path / JOURNAL).resolve())
    Study(plan_for(), open_storage(None, tmp_path.relative_to(tmp_path)), "sweep")
    assert not (tmp_path / f"{JOURNAL}.lock").is_symlink()


@pytest.mark.parametrize("url", ["mysql://host/db", "studies.db", "redis://host", "s3://bucket/x"])
def test_other_databases_are_refused(url):
    with pytest.raises(UserError, match="--optuna-storage takes sqlite:///FILE or postgresql://"):
        check_url(url)


def test_what_can_not_be_reached_is_one_line(tmp_path):
    with pytest.raises(UserError, match="can't be reached") as error:
        open_storage("sqlite:////proc/nowhere/studies.db", tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError) as error:
        open_storage("postgresql://user@127.0.0.1:1/studies", tmp_path)
    installed = importlib.util.find_spec("psycopg2")
    assert ("can't be reached" if installed else "pip install psycopg2-binary") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:secret@host/studies",
        "postgresql://user:pa@secret:@host/studies",
        "postgresql://host/studies?user=me&password=secret",
        "mysql://user:secret@host/studies",
    ],
)
def test_a_password_is_refused_and_never_shown(tmp_path, url):
    with pytest.raises(UserError, match="PGPASSWORD|takes sqlite") as error:
        open_storage(url, tmp_path)
    assert "secret" not in str(error.value)
    assert "secret" not in redacted(f"can't connect to {url} (refused)")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"sampler": "random"}, "sampler"),
        ({"sampler_seed": 9}, "sampler seed"),
        ({"scheduler": "asha"}, "scheduler"),
        ({"seeds": (1001, 1002)}, "search seeds"),
        ({"space": {"learning_rate": (5e-4, 1e-3)}}, "space"),
    ],
)
def test_a_study_that_was_begun_otherwise_is_refused_by_what_differs(tmp_path, changes, named):
    Study(plan_for(), open_storage(None, tmp_path), "sweep")
    other = plan_for(**changes)
    with pytest.raises(UserError, match=f"was begun with another {named}; repeat the command that began it"):
        Study(other, open_storage(None, tmp_path), "sweep")


def test_other_code_is_another_study(tmp_path):
    plan = plan_for()
    Study(plan, open_storage(None, tmp_path), "sweep")
    other = replace(plan, fingerprint=replace(plan.fingerprint, code="other"))
    with pytest.raises(UserError, match="another code, data or weights"):
        Study(other, open_storage(None, tmp_path), "sweep")


def test_a_journal_on_an_object_store_loses_nothing_and_follows_the_lease(bucket, tmp_path):
    sweep, plan = location(f"{bucket}/sweep"), plan_for(trials=3)
    lease = acquire(sweep)
    first = Study(plan, open_storage(None, sweep, lease.start), "sweep")
    asked = first.ask()
    lease.release()
    later = acquire(sweep)
    with pytest.raises(Superseded):
        first.ask()
    again = Study(plan, open_storage(None, sweep, later.start), "sweep")
    assert again.requeue_interrupted() == 1
    taken = again.ask()
    assert (taken.number, taken.specs) == (0, asked.specs)
    copy_folder(sweep, tmp_path / "sweep")  # it has the form of Optuna's own journal file
    assert Study(plan, open_storage(None, tmp_path / "sweep"), "sweep").summary() == again.summary()
    later.release()
