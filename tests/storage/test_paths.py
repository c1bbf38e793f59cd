"""Places on object stores: what a URI may say, what a reader sees, what is refused, what the server is asked."""

import subprocess
import sys
import time
import urllib.request

import boto3
import pytest

from tests.conftest import SECRET
from tests.support.records import FINGERPRINT, record, summary
from tests.support.runs import finish, numbers
from tests.support.trials import specify, start
from tunekit.commands.checks import check_storage, sweep_folder
from tunekit.commands.doctor import examine
from tunekit.errors import UserError
from tunekit.planning.plan import PlanState, make_plan
from tunekit.storage.object_path import ObjectPath, _connected
from tunekit.storage.paths import location
from tunekit.store.result_store import ResultStore


def test_a_place_names_itself(bucket, s3, monkeypatch):
    place = location(f"{bucket}/some/prefix/")
    assert str(place) == f"{bucket}/some/prefix"
    assert location(str(place / "a.json")) == place / "a.json"
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    typed = location(f"{bucket}/some/prefix?endpoint_override={s3.host}&scheme=http&region=us-east-1")
    (place / "a.json").write_bytes(b"same")
    assert (typed / "a.json").read_bytes() == b"same", "pyarrow's own form of an endpoint"
    assert location(str(typed / "a.json")) == typed / "a.json"
    assert location("~/x").is_absolute()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("az://bucket/x", "s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"),
        ("s3://key:secret@bucket/x", r"put it into the environment"),
        ("s3:///x", "names no bucket"),
        ("s3://bucket/x?secret_key=secret", "unknown option 'secret_key'"),
    ],
)
def test_what_names_no_place_is_one_line_without_the_secret(text, message):
    with pytest.raises(UserError, match=message) as error:
        location(text)
    assert ":secret" not in str(error.value)
    assert "=secret" not in str(error.value)


def test_what_lies_there_is_asked_as_of_a_folder(bucket):
    place = location(f"{bucket}/x")
    for name in ("a/1.json", "a/b/2.json", "a/b/3.txt"):
        (place / name).write_bytes(name.encode())
    for seen in (place / "a", (place / "a").snapshot(), place.snapshot() / "a"):
        assert sorted(path.name for path in seen.iterdir()) == ["1.json", "b"]
        assert [path.name for path in (seen / "b").glob("*.json")] == ["2.json"]
        assert sorted(path.name for path in seen.rglob("*")) == ["1.json", "2.json", "3.txt"]
        asked = [(seen / name) for name in ("1.json", "b", "none", "1.jso")]
        assert [path.exists() for path in asked] == [True, True, False, False]
        assert [path.is_file() for path in asked] == [True, False, False, False]
        assert [path.is_dir() for path in asked] == [False, True, False, False]
        assert (seen / "1.json").stat().st_size == len("a/1.json")
    for missing in (place / "none", place.snapshot() / "none"):
        with pytest.raises(FileNotFoundError):
            missing.stat()
        with pytest.raises(FileNotFoundError):
            missing.read_bytes()
        assert list(missing.iterdir()) == []


WRITER = """
import sys
from tunekit.storage.paths import location
path = location(sys.argv[1])
for turn in range(10**6):
    path.write_bytes(bytes([turn % 2]) * 20_000_000)
    print(turn, flush=True)
"""


@pytest.mark.slow
def test_a_killed_writer_never_shows_half_an_object(bucket):
    path = location(f"{bucket}/large")
    for moment in (0.05, 0.15):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        writer.stdout.readline()
        time.sleep(moment)
        writer.kill()
        writer.wait()
        content = path.read_bytes()
        assert len(content) == 20_000_000
        assert len(set(content)) == 1


@pytest.fixture
def guarded(bucket, s3):
    """The server asks who is there from now on: a function that makes a user with a policy and returns its keys."""

    def user(*actions: str) -> dict[str, str]:
        iam = boto3.client("iam", endpoint_url=s3.url, region_name="us-east-1")
        name = f"user-{len(actions)}"
        iam.create_user(UserName=name)
        allowed = [f'"s3:{action}"' for action in actions]
        policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*", "Action": [%s]}]}'
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy % ", ".join(allowed))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        _ask_who(s3, "0")
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    _connected.cache_clear()
    yield user
    _ask_who(s3, "inf")
    _connected.cache_clear()


def _ask_who(s3, after: str) -> None:
    """Credentials are looked at from the request after so many on."""
    kind = {"Content-Type": "text/plain"}
    urllib.request.urlopen(urllib.request.Request(f"{s3.url}/moto-api/reset-auth", after.encode(), kind, method="POST"))


def refused(uri: str) -> str:
    """The one line that a command on this storage ends with."""
    with pytest.raises(UserError) as error:
        check_storage(sweep_folder(uri, "demo"), 0)
    assert "\n" not in str(error.value)
    assert SECRET not in str(error.value)
    return str(error.value)


def test_a_missing_bucket_is_named(bucket, s3):
    assert f"there is no bucket 'nowhere' at {s3.host}" in refused("s3://nowhere/sweeps")


def test_unknown_credentials_are_named(guarded, bucket):
    guarded("ListBucket")
    assert "does not know these credentials" in refused(bucket)


def test_a_bucket_that_can_only_be_read_is_refused_before_work(guarded, bucket, monkeypatch):
    for name, value in guarded("ListBucket", "GetObject").items():
        monkeypatch.setenv(name, value)
    assert "denies PutObject on bucket" in refused(bucket)
    found = {one.subject: one for one in examine(location(bucket), None) if one.subject in ("storage", "disk")}
    assert (found["storage"].ok, found["disk"].ok) == (False, True)


def test_planning_asks_a_server_little(bucket, s3, make_spec):
    store = ResultStore(location(f"{bucket}/sweep"))
    specs = [make_spec(seed=seed) for seed in range(12)]
    for spec in specs[:6]:
        folder = store.open_trial(spec, FINGERPRINT)
        store.write_epochs(folder, [record(1)])
        store.write_summary(folder, summary())
    s3.requests.take()
    plan = make_plan(specs, {spec.trial_id: FINGERPRINT for spec in specs}, store)
    assert (plan.count(PlanState.DONE), plan.count(PlanState.NEW)) == (6, 6)
    asked = s3.requests.take()
    lists = [one for one in asked if "list-type=2" in one]
    assert len(lists) == 2, lists
    assert len(asked) - len(lists) == 6 * 3 * 2, "three records of each stored trial, a HEAD and a GET each"


def test_a_trial_on_a_server_goes_on_with_the_bits_of_one_on_disk(bucket, s3, tmp_path, monkeypatch):
    monkeypatch.setattr("tunekit.engine.run.CHECKPOINT_SPACING", 0)
    spec = specify(epochs=4)
    whole = start(spec, tmp_path)
    finish(whole)
    sweep = location(f"{bucket}/sweep")
    broken = start(spec, sweep)
    for _ in range(3):
        s3.requests.take()
        broken.train_epoch()
    asked = s3.requests.take()
    assert len(asked) < 40, asked
    assert sorted(path.name for path in (broken.folder / "checkpoint").iterdir()) == ["epoch-2", "epoch-3"]
    (broken.folder / "checkpoint" / "epoch-3" / "optimizer.safetensors").write_bytes(b"torn")
    log: list[str] = []
    again = start(spec, sweep, log)
    assert any("epoch-3 is not valid" in line for line in log)
    assert any("going on after epoch 2 of 4" in line for line in log)
    finish(again)
    assert numbers(again.records) == numbers(whole.records)
    assert (again.folder / "steps.csv").read_bytes() == (whole.folder / "steps.csv").read_bytes()
    assert not (again.folder / "checkpoint").snapshot().exists(), "none is left of an ended trial"
    assert isinstance(again.folder, ObjectPath)
