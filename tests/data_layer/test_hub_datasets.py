"""Datasets of the hub: the real code against a fake hub on loopback, and which of a repository's files are read."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.forks import forks_with
from tests.support.hub_server import COMMIT, DATASET, FakeHub
from tunekit.data import hub_files
from tunekit.data.hub_ids import HubDataset
from tunekit.errors import UserError

CLIENT = """
import json, sys
from tunekit.data.sources import DataSource, read_source
from tunekit.errors import UserError
for text in sys.argv[1:]:
    try:
        data, source = read_source(DataSource(text))
        sizes = {split: len(frame) for split, frame in data.splits.items()}
        print(json.dumps([source.path, data.name, sizes, data.label_names, data.reading_notes]))
    except UserError as error:
        print(json.dumps(str(error)))
assert not {"torch", "transformers", "ray"} & set(sys.modules)
"""
PRELOADED = ("huggingface_hub.hf_api", "pyarrow.parquet", "tunekit.data.hub_files", "tunekit.data.user")
"""What takes longest to import, and holds nothing of a dataset, a hub or a cache."""
SCHEMA = pa.schema([("text", pa.string()), ("label", pa.int64())])
NAMES = {b"huggingface": json.dumps({"info": {"features": {
    "label": {"_type": "ClassLabel", "names": ["neg", "pos"]}, "text": {"_type": "Value", "dtype": "string"},
}}}).encode()}  # fmt: skip


def write(path, first, count, metadata=NAMES):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"text": f"text {number}", "label": number % 2} for number in range(first, first + count)]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata(metadata)), path)


@pytest.fixture
def folder(tmp_path):
    """A repository in the form that ``push_to_hub`` writes."""
    write(tmp_path / "repo" / "data" / "train-00000-of-00002.parquet", 0, 30)
    write(tmp_path / "repo" / "data" / "train-00001-of-00002.parquet", 30, 20)
    write(tmp_path / "repo" / "data" / "test-00000-of-00001.parquet", 50, 10)
    return tmp_path / "repo"


def reads(home, url, **environment):
    """What reads datasets of the hub at ``url`` in forks of a process, with a cache below ``home``."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    variables |= {"HF_ENDPOINT": url, "HF_HOME": str(home / "hf"), "TUNEKIT_CACHE_DIR": str(home / "cache")}
    return forks_with(PRELOADED, {**variables, **environment})


def told(run, *texts):
    """What a fork reads, one answer a text."""
    return [json.loads(line) for line in run(CLIENT, *texts)]


@pytest.mark.slow
def test_a_hub_dataset_is_pinned_fetched_once_and_read_from_the_cache(folder, tmp_path):
    name, hub = f"hf:{DATASET}", FakeHub(folder, "dataset")
    with reads(tmp_path, hub.url) as online, reads(tmp_path, hub.url, HF_HUB_OFFLINE="1") as offline:
        with hub:
            (path, first, sizes, labels, notes), *refusals = told(
                online, name, "hf:acme/none", f"{name}@nobranch", f"{name}/b"
            )
            assert path == f"{name}@{COMMIT}"
            assert (sizes, labels) == ({"train": 50, "test": 10}, ["neg", "pos"])
            assert f"main is commit {COMMIT[:12]} on the hub" in notes
            assert [refusal.partition(": ")[2].split(" (")[0] for refusal in refusals] == [
                "the hub has no dataset acme/none, or only for those who log in",
                "the hub has no revision 'nobranch' of acme/reviews",
                "no configuration 'b', as hf:acme/reviews/CONFIG",
            ]
            hub.asked.clear()
            [again] = told(online, path)
            assert again[:2] == [path, first]
            assert hub.asked == [], "what is pinned and cached is not asked for again"
            hub.commit = COMMIT[::-1]
            write(folder / "data" / "test-00000-of-00001.parquet", 70, 10)
            moved, pinned = told(online, name, path)
            assert (moved[0], pinned[:2]) == (f"{name}@{COMMIT[::-1]}", [path, first])
            assert moved[1] != first
        for without_the_hub in (online, offline):
            known, pinned, missing = told(without_the_hub, name, path, "hf:acme/other")
            assert known[:4] == moved[:4]
            assert "in the cache (the hub was not reached)" in known[4][0]
            assert pinned[:2] == [path, first]
            assert missing.startswith("hf:acme/other: it is not in the cache, and the hub can't be reached")
            assert "\n" not in missing


@pytest.mark.slow
def test_an_interrupted_fetch_is_no_dataset(folder, tmp_path):
    with (
        FakeHub(folder, "dataset") as hub,
        reads(tmp_path, hub.url) as online,
        reads(tmp_path, hub.url, HF_HUB_OFFLINE="1") as offline,
    ):
        lost = folder / "data" / "train-00001-of-00002.parquet"
        find = hub.find
        hub.find = lambda path: (b"", "EntryNotFound") if path.endswith(lost.name) else find(path)
        [refusal] = told(online, f"hf:{DATASET}")
        assert "train-00001-of-00002.parquet" in refusal
        [refusal] = told(offline, f"hf:{DATASET}@{COMMIT}")
        assert "it is not in the cache" in refusal
        hub.find = find
        [found] = told(online, f"hf:{DATASET}@{COMMIT}")
        assert found[2] == {"train": 50, "test": 10}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf:a/b", ("a/b", None, None)), ("hf:a/b/c", ("a/b", "c", None)), ("hf:a/b@v1.0", ("a/b", None, "v1.0")),
        (f"hf:a.x/b-y_z/c+d@{COMMIT}", ("a.x/b-y_z", "c+d", COMMIT)),
        ("hf:a/b@refs/convert/parquet", ("a/b", None, "refs/convert/parquet")),
    ],
)  # fmt: skip
def test_a_name_is_read_and_written_back(text, parts):
    found = HubDataset.parse(text)
    assert (found.repository, found.config, found.revision) == parts
    assert str(found) == text


NO_NAMES = ["hf:imdb", "hf:", "hf:a/", "hf:/a", "hf:a/b/", "hf:a/b@", "hf:a/b/c/d", "hf:a/../b", "hf:a/b c"]
NO_NAMES += ["hf:a/b@x y", "hf:-a/b", "hf:a/b\n", "hf:a/é"]


@pytest.mark.parametrize("text", NO_NAMES)
def test_what_names_no_dataset_is_refused(text):
    with pytest.raises(UserError, match="names no dataset of the hub"):
        HubDataset.parse(text)


CARD = """---
dataset_info:
- config_name: main
  features:
  - {name: text, dtype: string}
  - name: label
    dtype: {class_label: {names: {'0': neg, '1': pos}}}
configs:
- {config_name: main, data_files: [{split: train, path: m/tr-*}, {split: test, path: m/te-*}]}
- {config_name: other, data_files: o/*}
---
See https://example.org.
"""
CONVERTED = ["one/train/0000.parquet", "one/train/0001.parquet", "two/train/0000.parquet"]
LAYOUTS = {
    "push_to_hub": (None, ["data/train-00001-of-2.parquet", "data/train-00000-of-2.parquet", "data/test-0.parquet"], "",
                    ("default", {"train": ["data/train-00000-of-2.parquet", "data/train-00001-of-2.parquet"],
                                 "test": ["data/test-0.parquet"]})),
    "a card": ("main", ["m/tr-1.parquet", "m/te-1.parquet", "o/x.parquet"], CARD,
               ("main", {"train": ["m/tr-1.parquet"], "test": ["m/te-1.parquet"]})),
    "another of the card": ("other", ["m/tr-1.parquet", "m/te-1.parquet", "o/x.parquet"], CARD,
                            ("other", {"train": ["o/x.parquet"]})),
    "the hub's conversion": ("one", CONVERTED, "", ("one", {"train": CONVERTED[:2]})),
    "one of the conversion": (None, CONVERTED[:2], "", ("one", {"train": CONVERTED[:2]})),
}  # fmt: skip


def listed(monkeypatch, tmp_path, config, names, card):
    (tmp_path / "README.md").write_text(card)
    monkeypatch.setattr(hub_files, "_file", lambda hub, commit, name: tmp_path / name)
    names = [*names, "README.md"] if card else names
    return hub_files._listed(HubDataset("a/b", config, None), COMMIT, names)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_files_of_a_configuration_are_those_that_the_library_takes(layout, monkeypatch, tmp_path):
    config, names, card, expected = LAYOUTS[layout]
    found = listed(monkeypatch, tmp_path, config, names, card)
    assert (found.config, found.files) == expected
    assert (found.features is not None) == (layout == "a card")


NAMING = "---\nconfigs:\n- config_name: x\n  data_files: {}\n---\n"
REFUSED = {
    "several configurations": (None, CONVERTED, "", r"name one of its configurations.*one, two"),
    "no such one": ("on", CONVERTED, "", r"no configuration 'on', did you mean 'one'\?"),
    "no such one of a card": ("mian", ["m/tr-1.parquet", "m/te-1.parquet", "o/x.parquet"], CARD, "did you mean 'main'"),
    "csv": (None, ["train.csv", "test.csv"], "", r"kept as \.csv, and only Parquet is read"),
    "nothing": (None, ["LICENSE"], "", "its data files can't be told apart"),
    "a file elsewhere": (None, ["../train.parquet"], "", "is not read"),
    "an absolute path": (None, ["/etc/train.parquet"], "", "is not read"),
    "data of another place": (None, ["train.parquet"], NAMING.format("hf://datasets/c/d/*"), "files in another place"),
    "data above": (None, ["train.parquet"], NAMING.format("../*"), "can't be told apart"),
    "a broken card": (None, ["train.parquet"], "---\nconfigs: [\n---\n", "can't be told apart"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_t_be_told_apart_is_refused_in_one_line(case, monkeypatch, tmp_path):
    *asked, message = REFUSED[case]
    with pytest.raises(UserError, match=message) as refused:
        listed(monkeypatch, tmp_path, *asked)
    assert "\n" not in str(refused.value)


def test_a_script_is_refused_by_its_name(folder, tmp_path, monkeypatch):
    import huggingface_hub

    class Sibling:
        size = 1

        def __init__(self, rfilename):
            self.rfilename = rfilename

    class Info:
        sha = COMMIT
        siblings = (Sibling("reviews.py"), Sibling("train.parquet"))

    monkeypatch.setenv("TUNEKIT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *args, **options: Info)
    with pytest.raises(UserError, match=r"the script reviews\.py, and no script is run; try @refs/convert/parquet"):
        hub_files._fetched(HubDataset.parse(f"hf:{DATASET}"))


def test_class_names_of_the_readme_serve_files_that_say_nothing(tmp_path):
    write(tmp_path / "a.parquet", 0, 4, metadata=None)
    features = {"label": {"_type": "ClassLabel", "names": ["neg", "pos"]}}
    from tunekit.data.tables import arrow_rows

    table = hub_files._with_features(pq.read_table(tmp_path / "a.parquet"), features)
    assert arrow_rows("a", table, ["label"]).values["label"] == ["neg", "pos", "neg", "pos"]
