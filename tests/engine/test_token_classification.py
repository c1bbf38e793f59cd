"""A tag for each word through the engine: losses, scores, packs, resume, windows of tokens, and the steps of a GPU."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import DataCollatorForTokenClassification

from benchmarks.support.trial import without_dropout
from tests.support.combinations import usually
from tests.support.device import CalledGraphs, called, device_pack
from tests.support.packs import check_packs, member_of, train
from tests.support.runs import finish, numbers
from tests.support.trials import build, specify, start
from tunekit.engine.forward.modules import context_of
from tunekit.engine.forward.patching import patch_model
from tunekit.engine.member import LabelledSplit
from tunekit.engine.memory_probe import member_of as probed
from tunekit.engine.train import Pack
from tunekit.store.result_store import ResultStore
from tunekit.tasks import TASKS
from tunekit.tasks.base import IGNORED

pytestmark = pytest.mark.slow

TASK = TASKS["token_classification"]
FLAT = ("tiny-bert", "tiny-roberta", "tiny-electra", "tiny-modernbert")
PADDED = ("tiny-distilbert", "tiny-deberta")


def spec_of(**changes):
    return specify(**{"dataset": "demo-tags", "method": "full", "learning_rate": 5e-3, **changes})


def collated(prepared, count):
    """The first examples of train as the library's collator for tags puts them together, its labels made by hand."""
    tokenizer, names = prepared.tokenizer, list(prepared.data.label_names)
    frame, features = prepared.data.splits["train"].head(count), []
    for text, tags in zip(frame["text"], frame["label"], strict=True):
        row = tokenizer(text.split(" "), is_split_into_words=True)
        words, given = row.word_ids(), tags.split(" ")
        firsts = [word is not None and word not in words[:place] for place, word in enumerate(words)]
        labels = [names.index(given[word]) if first else -100 for word, first in zip(words, firsts, strict=True)]
        features.append({**row, "labels": labels})
    return DataCollatorForTokenClassification(tokenizer)(features)


@pytest.mark.parametrize("model", [*FLAT, *PADDED])
def test_the_loss_is_that_of_the_librarys_own_forward_pass_and_collator(model):
    spec = spec_of(model=model, batch_size=8)
    prepared, library = build(spec)
    assert type(library).__name__.endswith("ForTokenClassification")
    batch = collated(prepared, 8)
    assert (batch["labels"] == -100).any()
    with torch.no_grad():
        expected = without_dropout(library).eval()(**batch)
    member, first = member_of(spec, dropout=False), np.arange(8)
    pack = Pack([member])
    assert float(pack.steps.loss([first])[0].detach()) == pytest.approx(float(expected.loss), abs=1e-5)
    found = pack.predict(member.train.subset(first))[0]
    scored = [row[mark != -100] for row, mark in zip(expected.logits, batch["labels"], strict=True)]
    for ours, theirs in zip(found, scored, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-5)


def test_the_last_layer_reads_all_tokens_for_tags_alone():
    for dataset, of_words in (("demo-tags", True), ("demo", False)):
        model = build(specify(dataset=dataset))[1]
        patch_model(model, of_words=of_words)
        assert context_of(model).of_words is of_words
        assert model.bert.encoder.layer[-1].attention.self.last is not of_words


def test_losses_of_parts_of_a_batch_add_up_to_that_of_the_whole():
    spec = spec_of(batch_size=16, train_limit=40)
    for make in (Pack, device_pack):
        whole, parts = member_of(spec, dropout=False), member_of(spec, dropout=False)
        parts.micro_batches = 3
        np.testing.assert_allclose(train([parts], 2, make), train([whole], 2, make), rtol=0, atol=1e-5)


def test_the_loss_of_an_epoch_is_the_mean_over_its_words():
    spec = spec_of(batch_size=7, train_limit=40, epochs=1)
    member = member_of(spec, dropout=False)
    weights = [member.train.weights[batch].sum() for batch in member.batches()]
    assert len(set(weights)) > 1
    [epoch] = Pack([member]).train_epoch()
    assert epoch.train_loss == pytest.approx(np.average(epoch.losses, weights=weights))


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("make_pack", usually([device_pack], [Pack, device_pack]))
def test_packs_give_each_trial_its_own_numbers(method, make_pack):
    specs = [
        spec_of(method=method, seed=seed, learning_rate=rate, batch_size=8, train_limit=44, epochs=2)
        for seed, rate in ((1, 1e-3), (2, 5e-3), (3, 2e-3))
    ]
    check_packs(specs, make_pack)


@pytest.mark.parametrize("make_pack", [Pack, device_pack])
def test_with_dropout_a_trial_is_the_same_alone_and_in_a_pack(make_pack):
    specs = [spec_of(seed=seed, learning_rate=1e-3, batch_size=8, train_limit=44, epochs=1) for seed in (1, 2)]
    expected = np.concatenate([train([member_of(spec)], 1, make_pack) for spec in specs])
    without = np.concatenate([train([member_of(spec, dropout=False)], 1, make_pack) for spec in specs])
    assert np.abs(expected - without).max() > 1e-3
    np.testing.assert_allclose(train([member_of(spec) for spec in specs], 1, make_pack), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", ["tiny-bert", "tiny-roberta", "tiny-electra"])
def test_scoring_by_the_steps_of_a_gpu_gives_the_logits_of_the_host(model):
    members = [member_of(spec_of(model=model, seed=seed)) for seed in (1, 2)]
    split = LabelledSplit(members[0].train.tokens, members[0].train.labels)
    found = device_pack([member_of(spec_of(model=model, seed=seed)) for seed in (1, 2)]).predict(split)
    for ours, theirs in zip(found, Pack(members).predict(split), strict=True):
        assert [len(one) for one in ours] == split.tokens.words.counts.tolist()
        np.testing.assert_allclose(np.concatenate(ours), np.concatenate(theirs), rtol=0, atol=1e-5)


def test_captured_steps_train_the_numbers_of_eager_ones():
    spec, graphs = spec_of(batch_size=8, train_limit=44, epochs=3), CalledGraphs()
    found = train([member_of(spec)], 3, lambda members: Pack(members, make_steps=called(graphs)))
    assert graphs.replayed > 0
    np.testing.assert_array_equal(found, train([member_of(spec)], 3, device_pack))


def test_words_that_were_cut_off_count_as_outside_and_are_counted(tmp_path):
    spec = spec_of(max_length=8, epochs=1)
    run = start(spec, tmp_path)
    words = run.splits["test"].tokens.words
    assert words.num_unread > 0
    assert "of texts cut to 8 tokens; " in run.cut_line
    assert "words without a token have the tag O" in run.cut_line
    run.train_epoch()
    rows = run.recorded.predictions
    rows = rows[rows["split"] == "test"]
    for gold, predicted, tokens in zip(
        rows["gold"], rows["predicted"], np.split(words.begun, run.splits["test"].tokens.offsets[1:-1]), strict=True
    ):
        tags = predicted.split(" ")
        assert len(tags) == len(gold.split(" "))
        assert all(tag == "O" for place, tag in enumerate(tags) if place not in tokens)


def test_a_trial_records_scores_of_all_entities_and_of_each_type(tmp_path):
    run = start(spec_of(epochs=4, train_limit=400, batch_size=16), tmp_path)
    finish(run)
    stored = ResultStore(tmp_path).read(run.folder)
    found = pd.read_parquet(run.folder / "predictions.parquet")
    last = stored.epochs[-1]
    assert last.score("test_entity_f1") > 0.3
    assert {name for name in last.scores if name.startswith("test_f1_")} == {
        "test_f1_LOC",
        "test_f1_ORG",
        "test_f1_PER",
    }
    own = found[(found["split"] == "test") & (found["epoch"] == last.epoch)]
    assert own["gold"].tolist() == run.data.splits["test"]["label"].tolist()
    assert {len(logits) for logits in own["logits"]} == {0}
    rows = [json.loads(line) for line in (run.folder / "epochs.jsonl").read_text().splitlines()]
    assert {row["schema_version"] for row in rows} == {2}
    assert stored.summary.best_epoch == int(np.argmax([one.score("val_entity_f1") for one in stored.epochs])) + 1


def test_resumed_trials_are_bit_identical(tmp_path):
    spec = spec_of(epochs=3, score_test=False)
    whole = start(spec, tmp_path / "whole")
    ended = finish(whole)
    run = start(spec, tmp_path / "broken")
    run.last_checkpoint = -float("inf")
    run.train_epoch()
    run = start(spec, tmp_path / "broken")
    assert len(run.records) == 1
    assert finish(run).train_scores == ended.train_scores
    assert numbers(run.records) == numbers(whole.records)
    ours, theirs = (pd.read_parquet(one.folder / "predictions.parquet") for one in (run, whole))
    assert ours["predicted"].equals(theirs["predicted"])
    assert set(ours["split"]) == {"val"}


def test_a_part_of_a_split_keeps_the_words_of_its_texts():
    member = member_of(spec_of())
    split, at = member.train, np.array([5, 2, 9])
    part = split.subset(at)
    expected = np.concatenate([split.labels[split.word_offsets[one] : split.word_offsets[one + 1]] for one in at])
    assert part.labels.tolist() == expected.tolist()
    assert part.row_targets.tolist() == split.row_targets[split.rows(at)].tolist()
    assert part.weights.tolist() == split.weights[at].tolist()
    assert (split.row_targets != IGNORED).sum() == split.weights.sum() == len(split.labels)


def test_memory_is_probed_with_a_tag_for_each_token():
    spec = spec_of()
    member = probed(build(spec)[1].config.to_dict(), spec, [5, 7], 7)
    assert member.train.labels.shape == (12,)
    assert np.isfinite(Pack([member]).train_epoch()[0].losses).all()
