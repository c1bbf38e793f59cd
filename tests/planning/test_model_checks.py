"""What a plan refuses of models, and what it says of them, before anything is trained or fetched."""

import json

import pytest
from tokenizers import normalizers

from tests.support.model_folders import byte_level, wordpiece, write_model
from tests.support.trials import run_script
from tunekit.errors import UserError
from tunekit.planning.args import GridArgs
from tunekit.planning.batching import described
from tunekit.planning.presets import GRID_PRESETS
from tunekit.planning.resolve import resolve_grid

BERT = {"tokenizer_class": "BertTokenizer"}


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Files of texts alone and of pairs."""
    folder = tmp_path_factory.mktemp("data")
    rows = [{"text": f"good fox number {n}", "label": f"class {n % 2}"} for n in range(40)]
    for name, more in (("texts", {}), ("pairs", {"pair": "the lazy dog"})):
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps({**row, **more})}\n" for row in rows))
    return folder


def plan(model, data, **flags):
    args = {"models": (str(model),), "methods": ("full",), "datasets": (str(data),), "seeds": (1,), "epochs": 1}
    if data.stem == "pairs":
        args["pair_column"] = "pair"
    return resolve_grid(GridArgs(**args, **flags), GRID_PRESETS)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("m") / "bert", wordpiece(normalizers.BertNormalizer()), BERT)


@pytest.fixture(scope="module")
def roberta(tmp_path_factory):
    folder = tmp_path_factory.mktemp("m") / "roberta"
    return write_model(folder, byte_level(), {"tokenizer_class": "RobertaTokenizer"}, model_type="roberta")


@pytest.mark.parametrize(("model", "longest"), [("bert", 48), ("roberta", 46)])
def test_a_length_that_was_asked_for_is_taken_or_refused(model, longest, texts, request):
    folder = request.getfixturevalue(model)
    [spec] = plan(folder, texts / "texts.jsonl", max_length=longest).specs
    assert spec.max_length == longest
    with pytest.raises(UserError, match=f"takes texts of at most {longest} tokens, and max_length is {longest + 1}"):
        plan(folder, texts / "texts.jsonl", max_length=longest + 1)


def test_the_default_length_is_cut_and_said_once(roberta, texts):
    sweep = plan(roberta, texts / "texts.jsonl")
    lines = described(sweep.specs, sweep.models)
    assert [line for line in lines if "texts are cut to 46 tokens" in line] == lines[-1:]
    assert sum("heads are drawn from the seed" in line for line in lines) == 1


def test_registered_models_have_their_lengths_too(texts):
    with pytest.raises(UserError, match="at most 512 tokens"):
        plan("roberta", texts / "texts.jsonl", max_length=513)
    assert plan("roberta", texts / "texts.jsonl", max_length=512).specs


def test_token_types_without_an_embedding_are_refused_for_pairs_alone(tmp_path, texts, bert):
    one = write_model(tmp_path / "one", wordpiece(normalizers.BertNormalizer()), BERT, config={"type_vocab_size": 1})
    assert plan(one, texts / "texts.jsonl").specs
    assert plan(bert, texts / "pairs.jsonl").specs
    with pytest.raises(UserError, match="has embeddings for 1 token types, and its tokenizer gives type 1"):
        plan(one, texts / "pairs.jsonl")


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_a_model_that_does_not_fit_is_refused_by_exit_code_2(dry_run, tmp_path, texts, capsys):
    tokenizer = wordpiece(normalizers.BertNormalizer())
    rows = tokenizer.get_vocab_size()
    tokenizer.add_tokens(["number 3", "number 4"])
    folder = write_model(tmp_path / "added", tokenizer, BERT, rows=rows)
    code = run_script(
        "main_grid.py", "--models", folder, "--methods", "full", "--datasets", texts / "texts.jsonl",
        "--storage", tmp_path / "store", *dry_run,
    )  # fmt: skip
    assert code == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert f"its tokenizer has {rows + 2} tokens, its weights have {rows} embeddings" in line
    assert not (tmp_path / "store").exists()
