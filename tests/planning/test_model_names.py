"""Names that people know models by are answered with the names by which the product knows them."""

import pytest

from tunekit.errors import UserError
from tunekit.models.catalog import MODELS
from tunekit.planning.model_names import PACKAGED, check_registered, find_model, known_as
from tunekit.planning.overrides import override
from tunekit.planning.presets import GRID_PRESETS

REGISTERED = [(PACKAGED.get(name) or MODELS[name].hub_id, name) for name in MODELS if not MODELS[name].seeded]


@pytest.mark.parametrize(("hub_id", "name"), REGISTERED)
@pytest.mark.parametrize("change", [str, str.lower, str.upper, "{}@main".format])
def test_a_registered_model_without_its_organisation(hub_id, name, change):
    bare = hub_id.partition("/")[2]
    with pytest.raises(UserError, match=rf"did you mean {hub_id}, registered as {name}\?$") as refused:
        find_model(change(bare))
    assert str(refused.value).startswith(f"unknown model {change(bare)!r}")


@pytest.mark.parametrize(
    ("text", "hub_id"),
    [
        ("bert-base-cased", "google-bert/bert-base-cased"), ("bert-large-uncased", "google-bert/bert-large-uncased"),
        ("bert-base-multilingual-cased", "google-bert/bert-base-multilingual-cased"),
        ("roberta-large", "FacebookAI/roberta-large"), ("distilroberta-base", "distilbert/distilroberta-base"),
        ("distilbert-base-cased", "distilbert/distilbert-base-cased"),
        ("deberta-v3-large", "microsoft/deberta-v3-large"),
        ("electra-small-discriminator", "google/electra-small-discriminator"),
    ],
)  # fmt: skip
def test_other_models_that_are_known_by_their_name_alone(text, hub_id):
    with pytest.raises(UserError, match=rf"^unknown model {text!r}, did you mean {hub_id}\?$"):
        find_model(text)


def test_a_hub_id_that_cannot_be_had_is_answered_too(monkeypatch):
    def refuse(text):
        raise UserError("the hub can't be reached")

    monkeypatch.setattr("tunekit.planning.model_names.resolve_model", refuse)
    for text, end in (
        ("microsoft/deberta-v3-base", "it is registered as deberta-v3"),
        ("google/bert-base-uncased", "did you mean google-bert/bert-base-uncased, registered as bert?"),
        ("acme/unheard-of", "the hub can't be reached"),
    ):
        with pytest.raises(UserError) as refused:
            find_model(text)
        assert str(refused.value).endswith(end)


def test_a_folder_of_such_a_name_is_a_folder(repository, monkeypatch):
    folder = repository.rename(repository.with_name("bert-base-uncased"))
    monkeypatch.chdir(folder.parent)
    assert find_model("bert-base-uncased").path == str(folder)


def test_a_filter_by_such_a_name_says_it_too():
    with pytest.raises(UserError, match="did you mean google-bert/bert-base-uncased, registered as bert"):
        override(GRID_PRESETS["study"].blocks, models=("bert-base-uncased",), settings={})


def test_names_of_one_s_own_stand_for_nothing_else():
    assert known_as("tiny-bert") is known_as("my-bert-base-uncased") is known_as("") is None


def test_a_command_that_takes_registered_models_alone_says_it_too():
    check_registered("bert")
    for text in ("google-bert/bert-base-uncased", "bert-base-uncased"):
        with pytest.raises(UserError, match="registered as bert"):
            check_registered(text)
    with pytest.raises(UserError, match="unknown model 'bertt', did you mean 'bert'"):
        check_registered("bertt")
