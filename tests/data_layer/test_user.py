"""A user's own data: read in every format, split, stored and read back; bad input gives one line with its place."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tunekit.data.base import TextDataset, content_hash
from tunekit.data.copies import load_dataset, save_dataset
from tunekit.data.user import read_user_dataset
from tunekit.errors import UserError

RECORDS = [{"text": f'line {i}\u2028, "so"\n', "label": "yes" if i % 3 else "no", "doc": i // 4} for i in range(60)]


def write(path: Path, records: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        pd.DataFrame(records).to_csv(path, index=False)
    elif path.suffix == ".parquet":
        pd.DataFrame(records).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".parquet"])
def test_formats_and_paths_do_not_matter(suffix: str, tmp_path: Path) -> None:
    plain = read_user_dataset(write(tmp_path / "My Data.jsonl", RECORDS), group_column="doc")
    other = read_user_dataset(write(tmp_path / "else" / f"My Data{suffix}", RECORDS), group_column="doc")
    assert other.name == plain.name == f"my-data-{plain.content_hash}"
    assert other.display_name == "My Data"
    assert other.label_names == ("no", "yes")
    assert other.splits["test"]["text"].tolist() == plain.splits["test"]["text"].tolist()
    assert {split: len(frame) for split, frame in other.splits.items()} == {"train": 48, "val": 4, "test": 8}
    groups = [set(frame["group"]) for frame in other.splits.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 15


def test_single_file_is_split_80_10_10(tmp_path: Path) -> None:
    data = read_user_dataset(write(tmp_path / "a.csv", RECORDS))
    assert {split: len(frame) for split, frame in data.splits.items()} == {"train": 48, "val": 6, "test": 6}
    assert [frame["label"].sum() for frame in data.splits.values()] == [32, 4, 4]
    assert all(frame["pair"].isna().all() for frame in data.splits.values())


def test_one_label_changes_the_identity(tmp_path: Path) -> None:
    changed = [*RECORDS[:-1], RECORDS[-1] | {"label": "no"}]
    names = {read_user_dataset(write(tmp_path / "a.csv", records)).name for records in (RECORDS, changed)}
    assert len(names) == 2


def folder(path: Path, **files: list[dict]) -> Path:
    for name, records in files.items():
        write(path / f"{name}.jsonl", records)
    return path


def test_folder_keeps_its_splits(tmp_path: Path) -> None:
    path = folder(tmp_path / "mine", train=RECORDS[:40], validation=RECORDS[40:50], test=RECORDS[50:])
    data = read_user_dataset(path)
    assert data.name.startswith("mine-")
    assert {split: len(frame) for split, frame in data.splits.items()} == {"train": 40, "val": 10, "test": 10}
    (path / "validation.jsonl").unlink()
    assert list(read_user_dataset(path).splits) == ["train", "test"]


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ([10, 9, 2], ("2", "9", "10")),
        (["10", "9", "2"], ("2", "9", "10")),
        ([1.0, 2.0, 0.0], ("0", "1", "2")),
        ([True, False, True], ("False", "True")),
        (["b", "10", " a "], ("10", "a", "b")),
    ],
)
def test_labels_become_sorted_names(written: list, names: tuple[str, ...], tmp_path: Path) -> None:
    records = [{"text": f"t{i}", "label": written[i % 3]} for i in range(60)]
    data = read_user_dataset(write(tmp_path / "a.jsonl", records))
    assert data.label_names == names
    read = {t: names[n] for f in data.splits.values() for t, n in zip(f["text"], f["label"], strict=True)}
    assert read["t0"] == str(written[0]).removesuffix(".0")


def saved(tmp_path: Path) -> TextDataset:
    records = [record | {"other": f"pair {i}"} for i, record in enumerate(RECORDS)]
    data = read_user_dataset(write(tmp_path / "a.jsonl", records), pair_column="other")
    save_dataset(data, tmp_path / "data", with_text=True)
    return data


def test_saved_data_is_read_back(tmp_path: Path) -> None:
    data = saved(tmp_path)
    again = load_dataset(data.name, tmp_path / "data")
    assert (again.name, again.display_name, again.pair_as) == (data.name, "a", "pair")
    assert again.label_names == data.label_names
    for split, frame in data.splits.items():
        assert again.splits[split].equals(frame)


def test_saving_again_leaves_the_files_alone_and_mends_damage(tmp_path: Path) -> None:
    data = saved(tmp_path)
    path = tmp_path / "data" / f"{data.name}.parquet"
    before = path.stat()
    save_dataset(data, tmp_path / "data", with_text=True)
    assert path.stat().st_ino == before.st_ino
    path.write_bytes(path.read_bytes()[:-1])
    assert "remove both files" in refusal(lambda: load_dataset(data.name, tmp_path / "data"))
    save_dataset(data, tmp_path / "data", with_text=True)
    assert load_dataset(data.name, tmp_path / "data").content_hash == data.content_hash
    assert sorted(p.suffix for p in path.parent.iterdir()) == [".json", ".parquet"]


def test_edited_saved_data_is_refused(tmp_path: Path) -> None:
    data = saved(tmp_path)
    path = tmp_path / "data" / f"{data.name}.parquet"
    frame = pd.read_parquet(path)
    frame.loc[3, "label"] = 1 - frame.loc[3, "label"]
    frame.to_parquet(path)
    message = refusal(lambda: load_dataset(data.name, tmp_path / "data"))
    assert str(path) in message
    assert "content hash" in message


def test_registered_data_is_saved_without_text(tmp_path: Path) -> None:
    data = load_dataset("demo")
    save_dataset(data, tmp_path)
    stem = f"demo-{data.content_hash}"
    table = pq.read_table(tmp_path / f"{stem}.parquet")
    assert table.column_names == ["split", "row", "label", "text_sha256", "group"]
    assert table.num_rows == 1000
    record = json.loads((tmp_path / f"{stem}.json").read_text())
    assert record["licence"].startswith("CC0")
    assert record["label_names"] == list(data.label_names)


def test_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    data = saved(tmp_path)
    assert "unknown dataset" in refusal(lambda: load_dataset(f"../data/{data.name}", tmp_path / "data"))


def good(**changed: object) -> str:
    return json.dumps({"text": "fine", "label": "a"} | changed)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            "txt,label\nx,a\n",
            "a.csv, line 1: no column 'text', did you mean 'txt'? (there are: 'txt', 'label'); --text-column names it",
        ),
        ("a.csv", "text,label,text\nx,a,y\n", "a.csv, line 1: the column name 'text' occurs twice"),
        ("a.csv", 'text,label\n"two\nlines",a\n ,b\n', "a.csv, line 4: empty text in column 'text'"),
        ("a.csv", "text,label\nx,a,b\n", "a.csv, line 2: 3 fields, the header has 2"),
        ("a.csv", 'text,label\n"x,a\n', "a.csv, line 2: broken CSV"),
        ("a.csv", "text,label\n", "a.csv: no rows"),
        ("a.csv", "text,label\nx,\n", "a.csv, line 2: empty label"),
        ("a.csv", "text,label\nx,1\ny,2.5\n", "a.csv, line 3: label 2.5 looks like regression"),
        ("a.csv", "text,label\nx,1e99999999999\ny,b\n", "too few rows"),
        ("a.csv", "text,label\nx,a\ny,NaN\n", "a.csv, line 3: 'NaN' in column 'label' marks a missing label"),
        (
            "a.csv",
            "text,label\nx,\"['a', 'b']\"\n",
            "a.csv, line 2: column 'label' holds several labels; --task multi_label",
        ),
        (
            "a.csv",
            "text,label\n" + "".join(f"t{i},{i}\n" for i in range(201)),
            "201 numeric labels look like regression",
        ),
        ("a.csv", "text,label\nx,a\ny,a\n", "a.csv: every label of train is 'a'"),
        ("a.csv", "text,label\nx,a\ny,b\n", "a.csv: too few rows"),
        ("a.csv", b"text,label\nx,a\n\xff\xfe,b\n", "a.csv, line 3: byte 0xFF after 0 characters is not UTF-8"),
        ("a.csv", "", "a.csv: the file is empty"),
        ("a.tsv", "text\tlabel\n", "a.tsv: no rows"),
        ("a.xlsx", "text\tlabel\n", "a.xlsx: unsupported kind of file '.xlsx'"),
        ("a.jsonl", f"{good()}\n\n{{'text'\n", "a.jsonl, line 3: broken JSON"),
        ("a.jsonl", "[" * 100_000, "a.jsonl, line 1: broken JSON"),
        ("a.jsonl", f"[{good()}]", "a.jsonl, line 1: JSON list, each line must be one object"),
        ("a.jsonl", f'{good()}\n{{"text": "x", "lable": "a"}}\n', "line 2: no column 'label', did you mean 'lable'?"),
        ("a.jsonl", good(label=["a"]), "a.jsonl, line 1: column 'label' holds several labels; --task multi_label"),
        ("a.jsonl", good(label=float("nan")), "a.jsonl, line 1: empty label"),
        ("a.jsonl", good(label=None), "a.jsonl, line 1: empty label"),
        ("a.jsonl", good(text=3), "a.jsonl, line 1: column 'text' holds int, not text"),
        ("a.jsonl", good(text="\ud800"), "a.jsonl, line 1: column 'text' is not valid Unicode"),
        ("a.parquet", b"PAR1 nonsense PAR1", "a.parquet: broken Parquet"),
    ],
)
def test_bad_files(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = refusal(lambda: read_user_dataset(path))
    assert message in found
    assert found.startswith(str(path))


def test_bad_parquet_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [{"text": "x", "label": 1}, {"text": None, "label": 0}])
    assert "a.parquet, row 2: empty text" in refusal(lambda: read_user_dataset(path))
    path = write(path, [{"text": "x", "label": [1, 2]}])
    assert "a.parquet, row 1: column 'label' holds several labels" in refusal(lambda: read_user_dataset(path))
    path = write(path, [{"text": "x", "lab": b"a"}])
    assert "a.parquet: no column 'label', did you mean 'lab'?" in refusal(lambda: read_user_dataset(path))
    path = write(path, [{"text": "x", "label": b"a"}])
    assert "a.parquet, row 1: column 'label' holds bytes" in refusal(lambda: read_user_dataset(path))


def test_bad_folders(tmp_path: Path) -> None:
    assert "no such file" in refusal(lambda: read_user_dataset(tmp_path / "none.csv"))
    assert "no train file" in refusal(lambda: read_user_dataset(tmp_path))
    path = folder(tmp_path / "mine", train=RECORDS[:40])
    whole = read_user_dataset(path)
    assert {split: len(rows) for split, rows in whole.splits.items()} == {"train": 32, "val": 4, "test": 4}
    folder(path, test=[*RECORDS[40:], {"text": "x", "label": "maybe"}])
    message = refusal(lambda: read_user_dataset(path))
    assert "test.jsonl, line 21: label 'maybe' of test never occurs in train" in message
    write(path / "train.csv", RECORDS)
    assert "train.csv and train.jsonl are both train" in refusal(lambda: read_user_dataset(path))


def test_columns_must_differ(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", RECORDS)
    assert "must be different columns" in refusal(lambda: read_user_dataset(path, label_column="text"))


def test_hash_is_of_the_content(tmp_path: Path) -> None:
    data = read_user_dataset(write(tmp_path / "a.csv", RECORDS))
    assert data.content_hash == content_hash(data.splits, data.label_names)


GOLDEN = {
    "label": ("276b252885b2", "dff679d2e574"),
    "n": ("0d5f4cde7311", "47ab926ec36d"),
    "f": ("0d5f4cde7311", "47ab926ec36d"),
    "b": ("a75c96f6c0bb", "95fc5946fda6"),
    "big": ("62cc2e828586", "4223e3930f5f"),
    "other": ("332b50c643ec", "a7ebd61d7f94"),
}
"""The hashes of well-formed data, whole and in a folder, as version 0.1.0 read it. Stored trials go by them."""


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_well_formed_data_has_the_hash_that_it_always_had(suffix: str, tmp_path: Path) -> None:
    records = [
        {
            "text": f'line {i}\u2028, "so"\nand, more', "label": "yes" if i % 3 else "no", "doc": i // 4,
            "other": f"pair {i}", "n": i % 3, "f": float(i % 3), "b": i % 2 == 0, "big": 10 * (i % 3),
        }
        for i in range(60)
    ]  # fmt: skip
    whole = write(tmp_path / f"mine{suffix}", records)
    for stem, part in (("train", records[:40]), ("dev", records[40:50]), ("test", records[50:])):
        write(tmp_path / "folder" / f"{stem}{suffix}", part)
    for column, expected in GOLDEN.items():
        columns = {"pair_column": column, "group_column": "doc"} if column == "other" else {"label_column": column}
        found = [read_user_dataset(path, **columns).content_hash for path in (whole, tmp_path / "folder")]
        assert tuple(found) == expected, column


def test_the_reviews_of_the_docs_have_the_name_that_they_always_had() -> None:
    path = Path(__file__).parents[2] / "docs" / "reviews.csv"
    data = read_user_dataset(path, text_column="sentence", label_column="opinion")
    assert data.name == "reviews-2209345331df"
