"""Files of tables in every kind, and what is said of those that can't be read."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunekit.data import text_files
from tunekit.data.copies import load_dataset, save_dataset
from tunekit.data.rows import MOST_SHOWN
from tunekit.data.tables import arrow_rows, read_table
from tunekit.data.user import read_user_dataset
from tunekit.errors import UserError

COLUMNS = ("text", "label")
CASE = "".join(f"t{n},{'ab'[n % 2]}\n" for n in range(30))


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def read(path: Path, content: str | bytes, **how: object):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, COLUMNS, label="label", **how)


def pairs(rows) -> list[tuple[str, str]]:
    return list(zip(rows.values["text"], rows.values["label"], strict=True))


@pytest.mark.parametrize(
    ("name", "content", "notes"),
    [
        ("a.csv", "text,label\nx,a\ny;z,b\n", []),
        ("a.csv", "text;label\nx;a\ny;b\n", ["separated by a semicolon"]),
        ("a.csv", "text\tlabel\nx\ta\ny\tb\n", ["separated by a tab"]),
        ("a.csv", "text|label\nx|a\ny|b\n", ["separated by a bar"]),
        ("a.csv", "sep=~\ntext~label\nx~a\ny~b\n", ["separated by '~'"]),
        ("a.tsv", "text\tlabel\nx\ta\n", []),
        ("a.tsv", "text,label\nx,a\n", ["separated by a comma"]),
        ("A.CSV", "text,label\nx,a\n", []),
        ("a.csv", "text,label\nx,a\n".encode("utf-16"), ["encoded as UTF-16"]),
        ("a.csv", b"\xef\xbb\xbftext,label\nx,a\n", []),
        ("a.csv.gz", gzip.compress(b"text,label\nx,a\n", mtime=0), []),
        ("a.JSONL.GZ", gzip.compress(b'{"text": "x", "label": "a"}\n', mtime=0), []),
        ("a.csv", "text,label,,\nx,a,,\ny,b\n", []),
        ("a.csv", ",text,label\n0,x,a\n", []),
        ("a.csv", " text , label\nx,a\n", []),
        ("a.csv", 'text, label\n"x", a\n', []),
        ("a.csv", "text,label,note,note\nx,a,1,2\n", []),
    ],
)
def test_a_table_of_every_kind_is_read(name: str, content: str | bytes, notes: list[str], tmp_path: Path) -> None:
    rows = read(tmp_path / name, content)
    assert pairs(rows)[0] == ("x", "a")
    assert (rows.notes, rows.bad) == (notes, [])


def test_a_separator_that_the_header_does_not_show_is_given_by_the_user(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    assert "no column 'text' (there are: 'text~label')" in refusal(lambda: read(path, "text~label\nx~a\n"))
    assert pairs(read(path, "text~label\nx~a\n", separator="~")) == [("x", "a")]
    assert "names the separator ';', --separator '~'" in refusal(
        lambda: read(path, "sep=;\ntext~label\nx~a\n", separator="~")
    )
    assert "must be one character" in refusal(lambda: read(path, "text,label\n", separator=",,"))
    assert "is for CSV and TSV" in refusal(lambda: read(tmp_path / "a.jsonl", "{}\n", separator=";"))


def test_a_file_without_its_suffix_has_the_name_and_hash_of_the_plain_one(tmp_path: Path) -> None:
    content = f"text,label\n{CASE}"
    (tmp_path / "mine.csv").write_text(content)
    (tmp_path / "mine.csv.gz").write_bytes(gzip.compress(content.encode()))
    (tmp_path / "mine.TSV").write_text(content.replace(",", "\t"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "Train.CSV.gz").write_bytes(gzip.compress(content.encode()))
    names = {read_user_dataset(tmp_path / name).name for name in ("mine.csv", "mine.csv.gz", "mine.TSV")}
    assert len(names) == 1
    assert read_user_dataset(tmp_path / "folder").content_hash in names.pop()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "text,label\nx\nné,a\n".encode("cp1252"), "line 3: byte 0xE9 after 1 characters is not UTF-8"),
        ("a.csv", "text,label\nné,a\n".encode("utf-16") + b"\x00", "is not UTF-16"),
        ("a.csv", "text,label\n".encode("utf-16-le"), "line 1: byte 0x00 is no text"),
        ("a.csv", "text,label\n".encode("utf-32"), "UTF-32"),
        ("a.csv", gzip.compress(b"text,label\n", mtime=0), "compressed by gzip; give it a name that ends in .csv.gz"),
        ("a.csv.gz", b"text,label\n", "broken gzip"),
        ("a.csv.gz", gzip.compress(b"text,label\nx,a\n", mtime=0)[:-9], "broken gzip"),
        ("a.csv.gz", gzip.compress(b"", mtime=0), "the file is empty"),
        ("a.csv", "text,label,text\nx,a,y\n", "the column name 'text' occurs twice"),
        ("a.csv", "label\nx\n", "no column 'text'"),
        ("a.csv", "TEXT,label\nx,a\n", "no column 'text', did you mean 'TEXT'?"),
        ("a.csv", "Great phone,a\nx,b\n", "no column 'text' (there are: 'Great phone', 'a')"),
        ("a.csv", "\u201ctext\u201d,\u201clabel\u201d\n\u201cx\u201d,\u201ca\u201d\n", "no column 'text'"),
        ("a.tsv", 'text\tlabel\n"Great" film\ta\n', "with --quotes none a quote is a character"),
    ],
)
def test_what_can_not_be_read_is_refused_with_its_place(
    name: str, content: str | bytes, message: str, tmp_path: Path
) -> None:
    assert message in refusal(lambda: read(tmp_path / name, content))


def test_a_small_archive_of_a_large_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "MAX_BYTES", 1000)
    content = gzip.compress(b"text,label\n" + b"x,a\n" * 1000, mtime=0)
    assert "larger than 1000 bytes once unpacked" in refusal(lambda: read(tmp_path / "a.csv.gz", content))


SWALLOWED = f'text,label\n"Great 5 inch phone,a\n{CASE}the screen is 6",b\nu0,a\nu1,b\n'


def test_a_quote_that_swallows_rows_is_refused_unless_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    message = refusal(lambda: read(path, SWALLOWED))
    assert f"{path}, line 2: one field holds 31 line ends, from line 2 on" in message
    rows = read(path, SWALLOWED, quotes="none")
    assert len(rows.numbers) == 34
    assert pairs(rows)[0] == ('"Great 5 inch phone', "a")
    rows = read(path, SWALLOWED, quotes="fields")
    assert len(rows.numbers) == 3
    assert rows.notes == ["1 row holds line ends, at most 31, from line 2 on"]


@pytest.mark.parametrize(
    "content",
    [
        'text,label\nx,a\ny,b\n"5 inch,a\n6",b\n',
        'label,text\na,x\nb,y\na,"5 inch\nb,6"\n',
        'id,text,label\n1,x,a\n2,y,b\n3,"5 inch,a\n4,six,b\n5,6",b\n',
        'text,label\nx,a\ny,b\nz,"a\nw,b\nv,a"\n',
        'text,label,,\nx,a,,\ny,b,,\n"5 inch,a,,\n6",b,,\n',
        'label,text\na,x\nb,y\n"a,x\nb","y, z"\n',
        'text,label\nx,a\ny,b\n";27;,b\n"",28,",a\n',
    ],
)
def test_a_few_swallowed_rows_are_found_by_their_labels(content: str, tmp_path: Path) -> None:
    assert "one field holds" in refusal(lambda: read(tmp_path / "a.csv", content))


@pytest.mark.parametrize(
    "text",
    [
        "Dear Sir,\nI like it.\n\nYours, A",
        "one, two\nthree, four\nfive, six",
        'She said "well",\nand left',
        "\n".join(f"verse {n}" for n in range(40)),
        "a\nb",
    ],
)
def test_a_text_of_several_lines_is_a_text(text: str, tmp_path: Path) -> None:
    field = text.replace('"', '""')
    rows = read(tmp_path / "a.csv", f'text,label\n"{field}",a\nx,b\n"{field}",b\n')
    assert pairs(rows) == [(text, "a"), ("x", "b"), (text, "b")]
    assert rows.notes[0].startswith("2 rows hold line ends")


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ('5 inch, 6" wide', None),
        ('5" screen', '5" screen'),
        ('say "hi" now', 'say "hi" now'),
        ('say ""hi"" now', None),
        ('"say ""hi"" now"', 'say "hi" now'),
        ('"a """" b"', 'a "" b'),
        (' "x"', None),
        ('" ""x"""', ' "x"'),
        (r"say \"hi\"", None),
        ("\u201csay\u201d", "\u201csay\u201d"),
        ("\u201csay \u201c\u201chi\u201d\u201d\u201d", None),
        ("well \u201c\u201chi\u201d\u201d", "well \u201c\u201chi\u201d\u201d"),
        ('"\u201csay \u201c\u201chi\u201d\u201d\u201d"', "\u201csay \u201c\u201chi\u201d\u201d\u201d"),
    ],
)
def test_quotes_of_a_field(field: str, text: str | None, tmp_path: Path) -> None:
    for header, row in (("text,label", f"{field},a"), ("label,text", f"a,{field}")):
        rows = read(tmp_path / "a.csv", f"{header}\nx,y\n{row}\n")
        assert (pairs(rows)[1:], len(rows.bad)) == (([], 1) if text is None else ([(text, "a")], 0))


def test_bad_rows_are_reported_all_at_once_and_left_out_on_request(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    wrong = ["a,b,c", "lonely", ",a", "x,", "y,nan", "text,label", "z\0,a", "u, ,v", *[",b"] * 4, "\ufeff \u200b,b"]
    path.write_text(f"text,label\n{CASE}" + "".join(f"{line}\n" for line in wrong), encoding="utf-8")
    message = refusal(lambda: read_user_dataset(path))
    assert (
        f"{path}: {len(wrong)} bad rows: lines 32, 39: 3 fields, the header has 2; line 33: 1 field, the header"
        in message
    )
    assert f"and {len(wrong) - MOST_SHOWN} more" in message
    assert "--skip-bad-rows leaves them out" in message
    data = read_user_dataset(path, skip_bad_rows=True)
    assert sum(data.left_out.values()) == len(wrong)
    assert data.left_out["empty text"] == 6
    path.write_text(f"text,label\n{CASE}")
    clean = read_user_dataset(path)
    assert (data.name, clean.left_out) == (clean.name, {}), "the hash is of the rows that are kept"


def test_leaving_rows_out_is_not_offered_where_none_would_be_left(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"text": "x", "label": "a"}], indent=1))
    message = refusal(lambda: read_user_dataset(path))
    assert "6 bad rows: lines 1, 5, 6: broken JSON" in message
    assert "--skip-bad-rows" not in message


def test_rows_that_were_left_out_are_counted_in_the_store(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"text,label\n{CASE},a\n")
    data = read_user_dataset(path, skip_bad_rows=True)
    save_dataset(data, tmp_path / "data", with_text=True)
    record = json.loads((tmp_path / "data" / f"{data.name}.json").read_text())
    assert record["left_out"] == {"empty text": 1}
    assert load_dataset(data.name, tmp_path / "data").left_out == {"empty text": 1}
    path.write_text(f"text,label\n{CASE}")
    save_dataset(read_user_dataset(path), tmp_path / "data", with_text=True)
    assert "left_out" not in json.loads((tmp_path / "data" / f"{data.name}.json").read_text())


def test_bad_rows_of_a_folder_are_named_by_their_files(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(f"text,label\n{CASE},a\n")
    (tmp_path / "test.csv").write_text("text,label\nx,a\ny,c\n")
    message = refusal(lambda: read_user_dataset(tmp_path))
    assert "2 bad rows: train.csv, line 32: empty text" in message
    assert "test.csv, line 3: label 'c' of test never occurs in train" in message
    assert len(read_user_dataset(tmp_path, skip_bad_rows=True).splits["test"]) == 1
    (tmp_path / "test.csv").write_text("text,label\nx,-1\ny,-1\n")
    assert "no row of test is left" in refusal(lambda: read_user_dataset(tmp_path, skip_bad_rows=True))


def test_json_lines_with_a_key_twice_or_without_one_are_bad_rows(tmp_path: Path) -> None:
    good = '{"text": "x", "label": "a"}'
    rows = read(tmp_path / "a.jsonl", f'{good}\n{{"text": "y", "text": "z", "label": "a"}}\n{{"text": "y"}}\n[1]\n')
    assert [(row.number, row.kind) for row in rows.bad] == [(2, "broken JSON"), (3, "no label"), (4, "broken JSON")]
    assert "the key 'text' occurs twice" in rows.bad[0].reason
    assert pairs(rows) == [("x", "a")]


def features(**columns: object) -> dict[bytes, bytes]:
    return {b"huggingface": json.dumps({"info": {"features": columns}}).encode()}


def class_label(*names: str) -> dict[str, object]:
    return {"names": list(names), "_type": "ClassLabel"}


def test_class_label_columns_give_the_names_of_their_classes(tmp_path: Path) -> None:
    table = pa.table({"text": [f"t{n}" for n in range(40)], "label": [n % 2 for n in range(40)]})
    named = table.replace_schema_metadata(features(text={"_type": "Value"}, label=class_label("neg", "pos")))
    pq.write_table(named, tmp_path / "a.parquet")
    data = read_user_dataset(tmp_path / "a.parquet")
    assert data.label_names == ("neg", "pos")
    assert pairs(read_table(tmp_path / "a.parquet", COLUMNS))[:2] == [("t0", "neg"), ("t1", "pos")]
    pq.write_table(table, tmp_path / "b.parquet")
    assert read_user_dataset(tmp_path / "b.parquet").label_names == ("0", "1")


def test_class_label_numbers_without_a_name_are_bad_rows() -> None:
    table = pa.table({"text": ["x", "y", "z", "w"], "label": [0, -1, 2, None]})
    rows = arrow_rows("a", table.replace_schema_metadata(features(label=class_label("neg", "pos"))), COLUMNS)
    assert pairs(rows) == [("x", "neg"), ("w", None)]
    assert [(row.number, row.kind) for row in rows.bad] == [(2, "missing label"), (3, "no such class")]
    twice = table.replace_schema_metadata(features(label=class_label("neg", "neg")))
    assert "have the same name" in refusal(lambda: arrow_rows("a", twice, COLUMNS))
    broken = table.replace_schema_metadata({b"huggingface": b"{"})
    assert "its description of columns by the library" in refusal(lambda: arrow_rows("a", broken, COLUMNS))
    pandas_only = table.replace_schema_metadata({b"huggingface": b"{}"})
    assert pairs(arrow_rows("a", pandas_only, COLUMNS))[0] == ("x", 0)
