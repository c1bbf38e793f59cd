"""Tags of words: what is an entity, files of the CoNLL format, lists of words, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from seqeval.metrics.sequence_labeling import get_entities

from tunekit.data.base import content_hash
from tunekit.data.copies import load_dataset, save_dataset
from tunekit.data.demo_tags import generate
from tunekit.data.frame import dataset
from tunekit.data.sources import DataSource, read_source
from tunekit.data.splitting import strata_of
from tunekit.data.summary import summarise
from tunekit.errors import UserError
from tunekit.tasks.bio import Entity, entities, tag_names, types_of
from tunekit.tasks.entity_scores import tallies

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
TASK = "token_classification"
CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
German JJ B-NP B-MISC
call NN I-NP O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
"""


def plain(rows=60):
    """A file of sentences with two columns, enough to be split."""
    lines = []
    for number in range(rows):
        lines += [f"word{number} O", "Anna B-PER", "Berg I-PER", "in O", "Paris B-LOC", ""]
    return "\n".join(lines)


def read(tmp_path, content, name="notes.conll", **options):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return read_source(DataSource(str(path), task=TASK, **options))[0]


def folder(tmp_path, train=CONLL, test=CONLL, suffix=".conll", **options):
    for split, content in (("train", train), ("test", test)):
        (tmp_path / f"{split}{suffix}").write_text(content, encoding="utf-8")
    return read_source(DataSource(str(tmp_path), task=TASK, **options))[0]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O", []),
        ("B-PER I-PER O B-PER", [("PER", 0, 2), ("PER", 3, 4)]),
        ("I-PER I-PER B-PER", [("PER", 0, 2), ("PER", 2, 3)]),  # as in the files of 2003
        ("B-PER I-LOC I-LOC", [("PER", 0, 1), ("LOC", 1, 3)]),
        ("B-A-B I-A-B", [("A-B", 0, 2)]),
    ],
)
def test_entities_of_tags(tags, expected):
    assert list(entities(tags.split(" "))) == [Entity(*one) for one in expected]


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(st.tuples(*[st.sampled_from(TAGS)] * 2), min_size=1, max_size=9), min_size=1, max_size=5))
def test_entities_and_their_scores_are_those_of_seqeval(texts):
    gold, found = ([[pair[place] for pair in text] for text in texts] for place in (0, 1))
    for tags in (*gold, *found):
        # seqeval gives the last word of an entity, not the one after it.
        assert [(one.type, one.begin, one.end - 1) for one in entities(tags)] == get_entities(tags)
    hits, of_gold, of_found = tallies(gold, found, types_of(TAGS)).sum(axis=(0, 2))
    f1 = 2 * hits / (of_gold + of_found) if of_gold + of_found else 0.0
    assert f1 == pytest.approx(f1_score(gold, found, zero_division=0))


def test_the_demo_is_the_same_on_every_machine_and_some_of_its_names_are_of_two_types():
    splits = generate()
    texts = [text for rows in splits.values() for text in rows["text"]]
    assert len(set(texts)) == len(texts)
    types = {}
    for rows in splits.values():
        for text, tags in zip(rows["text"], rows["label"], strict=True):
            words = text.split(" ")
            for one in entities(tags.split(" ")):
                types.setdefault(" ".join(words[one.begin : one.end]), set()).add(one.type)
    assert sum(len(own) > 1 for own in types.values()) > 3


def test_a_file_of_the_shared_task_is_read(tmp_path):
    data = folder(tmp_path)
    train = data.splits["train"]
    assert train["text"].tolist() == ["EU rejects German call", "Peter Blackburn"]
    assert train["label"].tolist() == ["B-ORG O B-MISC O", "B-PER I-PER"]
    assert data.label_names == ("O", "B-MISC", "B-ORG", "B-PER", "I-PER")
    assert "+token_classification-" in data.name
    assert data.reading_notes == tuple(f"{split}.conll: 1 line of -DOCSTART- left out" for split in ("train", "test"))


def test_columns_may_be_tabs_named_numbered_or_last(tmp_path):
    expected = folder(tmp_path)
    tabs = CONLL.replace(" ", "\t")
    assert folder(tmp_path, tabs, tabs).content_hash == expected.content_hash
    named = "# global.columns = FORM UPOS CHUNK NER\n" + CONLL
    assert folder(tmp_path, named, named, text="FORM", label="NER").content_hash == expected.content_hash
    header = "word\tpos\tchunk\tner\n" + tabs
    assert folder(tmp_path, header, header, text="word", label="ner").content_hash == expected.content_hash
    turned = "\n".join(" ".join(reversed(line.split(" "))) for line in CONLL.split("\n")).replace("O -X- -X- ", "")
    assert folder(tmp_path, turned, turned, text="4", label="1").content_hash == expected.content_hash
    with pytest.raises(UserError, match=r"no column 'ne'.*there are: 'FORM'"):
        folder(tmp_path, named, named, text="FORM", label="ne")
    with pytest.raises(UserError, match="line 3: no column '5'"):
        folder(tmp_path, label="5")


def test_lines_of_windows_comments_and_a_word_that_begins_with_a_hash(tmp_path):
    content = "# id = 1\r\n# O\r\nhash O\r\n\r\n# id = 2\r\nAnna B-PER\r\n"
    data = folder(tmp_path, content, content)
    assert data.splits["train"]["text"].tolist() == ["# hash", "Anna"]
    assert "2 comments left out" in data.reading_notes[0]


def test_one_file_is_split_and_lists_in_json_lines_are_the_same(tmp_path):
    data = read(tmp_path, plain())
    assert [len(data.splits[split]) for split in ("train", "val", "test")] == [48, 6, 6]
    frame = pd.DataFrame(
        [
            {"tokens": text.split(" "), "tags": tags.split(" ")}
            for text, tags in [(f"word{n} Anna Berg in Paris", "O B-PER I-PER O B-LOC") for n in range(60)]
        ]
    )
    frame.to_json(tmp_path / "notes.jsonl", orient="records", lines=True)
    source = DataSource(str(tmp_path / "notes.jsonl"), text="tokens", label="tags", task=TASK)
    assert read_source(source)[0].content_hash == data.content_hash
    assert dataset(frame, text="tokens", label="tags", task=TASK).content_hash == data.content_hash
    spaced = frame.map(" ".join)
    assert dataset(spaced, text="tokens", label="tags", task=TASK).content_hash == data.content_hash


def test_lists_of_classlabel_in_parquet_become_names(tmp_path):
    datasets = pytest.importorskip("datasets")
    names = ["O", "B-PER"]
    features = datasets.Features(
        {
            "tokens": datasets.Sequence(datasets.Value("string")),
            "tags": datasets.Sequence(datasets.ClassLabel(names=names)),
        }
    )
    rows = {"tokens": [[f"w{n}", "Anna"] for n in range(40)], "tags": [[0, 1]] * 40}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "notes.parquet")
    source = DataSource(str(tmp_path / "notes.parquet"), text="tokens", label="tags", task=TASK)
    assert set(read_source(source)[0].splits["train"]["label"]) == {"O B-PER"}


def test_data_is_read_back_as_it_was_saved(tmp_path):
    data = read(tmp_path, plain())
    save_dataset(data, tmp_path, with_text=True)
    again = load_dataset(data.name, tmp_path)
    assert content_hash(again.splits, again.label_names) == data.content_hash
    assert all(again.splits[split].equals(rows) for split, rows in data.splits.items())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONLL.replace("B-MISC", "MISC"), "line 5: tag 'MISC' is neither O nor B- or I- and a type"),
        (CONLL.replace("B-MISC", "S-MISC"), "write tags of another scheme in BIO"),
        (CONLL.replace(" B-VP O", " O"), "line 4: 3 columns, and 4 on the lines before"),
        ("alone\nhere\n", "line 1: one column"),
        (CONLL.split("\n")[0] + "\n", "no rows"),
        ("a O\nb O\n", "every tag of train is 'O'; there must be entities"),
    ],
)
def test_what_is_no_file_of_tags_is_refused_with_its_line(tmp_path, content, message):
    with pytest.raises(UserError, match=message) as refused:
        folder(tmp_path, content, content)
    assert "\n" not in str(refused.value)


def test_bad_sentences_are_left_out_and_counted_on_request(tmp_path):
    data = read(tmp_path, plain() + "\nlone\n\nAnna X\n", skip_bad_rows=True)
    assert data.left_out == {"other number of columns": 1, "no tag": 1}
    assert sum(len(rows) for rows in data.splits.values()) == 60


def test_a_tag_that_train_lacks_is_refused(tmp_path):
    with pytest.raises(UserError, match="label 'B-NEW' of test never occurs in train"):
        folder(tmp_path, CONLL, CONLL.replace("B-MISC", "B-NEW"))


def test_words_and_tags_that_do_not_fit_are_refused():
    frame = pd.DataFrame({"text": ["a b", "c", "d"], "label": ["O B-X O", "O", "B-X"]})
    with pytest.raises(UserError, match="row 1: 2 words and 3 tags"):
        dataset(frame, text="text", label="label", task=TASK)
    frame = pd.DataFrame({"text": [["a b"], ["c"]], "label": [["O"], ["B-X"]]})
    with pytest.raises(UserError, match="'a b' in column 'text' is no word"):
        dataset(frame, text="text", label="label", task=TASK)
    paired = pd.DataFrame({"text": ["a", "b"], "other": ["c", "d"], "label": ["B-X", "O"]})
    with pytest.raises(UserError, match="has no second text"):
        dataset(paired, text="text", pair="other", label="label", task=TASK)


def test_a_file_of_tags_is_never_guessed(tmp_path):
    for name in ("notes.conll", "notes.txt", "notes.iob2.gz"):
        (tmp_path / name).write_text(plain(), encoding="utf-8")
        with pytest.raises(UserError, match="holds words and their tags, which --task token_classification reads"):
            read_source(DataSource(str(tmp_path / name)))


def test_a_folder_whose_train_file_has_tags_is_refused_with_the_task_that_reads_it(tmp_path):
    (tmp_path / "README.txt").write_text("about", encoding="utf-8")
    with pytest.raises(UserError) as other:
        read_source(DataSource(str(tmp_path)))
    assert "token_classification" not in str(other.value)
    (tmp_path / "train.conll").write_text(plain(), encoding="utf-8")
    with pytest.raises(UserError, match=r"no train file.*; train.conll is read with --task token_classification"):
        read_source(DataSource(str(tmp_path)))


def test_rare_types_are_in_every_part_and_entities_are_counted(tmp_path):
    assert strata_of(["O B-PER", "B-LOC B-PER", "O", "B-PER"]) == [1, 0, 2, 1]
    summary = summarise(read(tmp_path, plain()))
    assert summary.classes["test"] == {"LOC": 6, "PER": 6}
    assert "2 types of entities in the tags of their words" in str(summary)
    assert "entities of each type (train, val, test): LOC 48/6/6, PER 48/6/6" in str(summary)
    assert summary.to_dict()["of_words"] is True


def test_tag_names_begin_with_o():
    assert tag_names(["I-B", "B-B", "B-A"]) == ("O", "B-A", "B-B", "I-B")
    assert np.array_equal(tallies([["B-A"]], [["O"]], ["A"]), [[[0], [1], [0]]])
