"""Models from a hub, a folder and a package: the real loading code against a fake hub on loopback."""

import json
import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import torch
from transformers import BertForSequenceClassification, BertTokenizerFast

from tests.support.forks import RunInFork, forks_with
from tests.support.hub_server import COMMIT, REPOSITORY, FakeHub
from tests.support.repositories import WORDS
from tests.support.trials import build, specify
from tunekit.errors import UserError
from tunekit.models import hub
from tunekit.models.catalog import MODELS
from tunekit.models.families import FAMILIES
from tunekit.models.loading import load_encoder, load_tokenizer, resolve_model
from tunekit.models.safety import FORBIDDEN, checked_config, refuse_kernels

CLIENT = """
import sys, torch
from tunekit.errors import UserError
from tunekit.models.loading import load_encoder, load_tokenizer, resolve_model
for name in sys.argv[1:]:
    try:
        ref = resolve_model(name)
        tokenizer = load_tokenizer(ref, None)
        model = load_encoder(ref, num_labels=3, seed=1, tokenizer=tokenizer)
        with torch.inference_mode():
            hidden = model.bert(**tokenizer("the soup was good", return_tensors="pt")).last_hidden_state
        print("loaded", ref.revision, hidden.double().abs().sum().item())
    except UserError as error:
        print("error:", error)
"""
PRELOADED = ("tunekit.runner.preloaded", "tunekit.models.tiny", "transformers.models.bert.modeling_bert")
"""What takes seconds to import, and holds nothing of a model, a hub or a cache."""


def change(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


@dataclass
class Clients:
    """Processes that load models from a hub, each started when it is first asked for, with one cache for all."""

    hub: FakeHub
    home: Path
    """Where the cache lies."""
    stack: ExitStack

    def _started(self, url: str, **environment: str) -> RunInFork:
        variables = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        variables |= {"HF_ENDPOINT": url, "HF_HOME": str(self.home), "HF_HUB_DISABLE_TELEMETRY": "1", **environment}
        return self.stack.enter_context(forks_with(PRELOADED, variables))

    @cached_property
    def online(self) -> RunInFork:
        """One that reaches the hub."""
        return self._started(self.hub.url)

    @cached_property
    def unreachable(self) -> RunInFork:
        """One whose hub does not answer."""
        with FakeHub(self.hub.folder) as gone:
            url = gone.url
        return self._started(url)

    @cached_property
    def offline(self) -> RunInFork:
        """One that is told to ask no hub. Its hashes have another seed than those of the others."""
        seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
        return self._started(self.hub.url, HF_HUB_OFFLINE="1", PYTHONHASHSEED=seed)


@pytest.fixture(scope="module")
def all_clients(tmp_path_factory):
    home = tmp_path_factory.mktemp("hub") / "home"
    with ExitStack() as stack:
        yield Clients(stack.enter_context(FakeHub(home.parent)), home, stack)


@pytest.fixture
def clients(all_clients, repository):
    """The clients with an empty cache, of a hub that serves ``repository`` and was asked nothing yet."""
    shutil.rmtree(all_clients.home, ignore_errors=True)
    all_clients.hub.folder = repository
    all_clients.hub.asked.clear()
    return all_clients


def told(run: RunInFork, *models: str) -> list[str]:
    """A line for each of ``models``: what ``run`` says in a fork that loads them."""
    lines = run(CLIENT, *models)
    assert len(lines) == len(models), lines
    return lines


def sum_of_hidden_states(folder: Path) -> float:
    """The sum that a client prints, computed by the library from the files of ``folder``."""
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = BertTokenizerFast.from_pretrained(folder)
    with torch.inference_mode():
        hidden = model.bert(**tokenizer("the soup was good", return_tensors="pt")).last_hidden_state
    return hidden.double().abs().sum().item()


@pytest.mark.slow
def test_a_hub_model_is_pinned_fetched_cached_and_loads_offline(clients, repository):
    asked = clients.hub.asked
    [first] = told(clients.online, REPOSITORY)
    assert asked.index("config.json") < asked.index("model.safetensors")
    assert "pytorch_model.bin" not in asked
    asked.clear()
    [pinned] = told(clients.online, f"{REPOSITORY}@{COMMIT}")
    assert asked == [], "what is pinned and cached is not asked for again"
    [unreachable] = told(clients.unreachable, REPOSITORY)
    [offline] = told(clients.offline, REPOSITORY)
    assert asked == [], "they reach no hub"
    assert first == pinned == unreachable == offline
    loaded, revision, total = first.split()
    assert (loaded, revision) == ("loaded", COMMIT)
    assert float(total) == pytest.approx(sum_of_hidden_states(repository), abs=1e-6)


def split_into_shards(folder: Path) -> None:
    """Replace model.safetensors by shards and their index."""
    model = BertForSequenceClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="1KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2


@pytest.mark.slow
def test_shards_of_a_hub_model_are_fetched_once_and_a_lost_one_is_named(clients, repository):
    whole, asked = sum_of_hidden_states(repository), clients.hub.asked
    split_into_shards(repository)
    shards = sorted(path.name for path in repository.glob("model-*.safetensors"))
    [line] = told(clients.online, f"{REPOSITORY}@{COMMIT}")
    assert line.startswith(f"loaded {COMMIT} ")
    assert float(line.split()[2]) == pytest.approx(whole, abs=1e-6)
    assert set(shards) < set(asked)
    assert asked.index("config.json") < asked.index("model.safetensors.index.json")
    shutil.rmtree(clients.home)
    (repository / shards[1]).unlink()
    [line] = told(clients.online, f"{REPOSITORY}@{COMMIT}")
    assert f"has no {shards[1]} at {COMMIT}, which its model.safetensors.index.json names" in line


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached_is_one_line_with_the_ways_out(clients):
    for line in told(clients.unreachable, f"{REPOSITORY}@{COMMIT}", REPOSITORY, "bert"):
        assert line.startswith("error: model")
        assert "config.json" in line
        assert "to work offline" in line


@pytest.mark.slow
def test_a_hostile_config_and_a_missing_model_are_refused_before_any_other_file_is_asked_for(clients, repository):
    change(repository, _attn_implementation_internal="acme/kernel")
    hostile, missing = told(clients.online, f"{REPOSITORY}@{COMMIT}", "acme/none")
    assert "'_attn_implementation_internal'" in hostile
    assert set(clients.hub.asked) == {"config.json", "/acme/none/resolve/main/config.json"}
    assert missing.startswith("error: model 'acme/none': config.json of")


@pytest.mark.parametrize(
    ("values", "key"),
    [
        *(({key: "acme/code"}, key) for key in FORBIDDEN),
        *(({"inner": [{"deep": {key: True}}]}, key) for key in FORBIDDEN),
        ({"attn_implementation": "acme/kernel"}, "attn_implementation"),
        ({"_attn_implementation_autoset": "acme/kernel"}, "_attn_implementation_autoset"),
        ({"model_type": "gpt2"}, "supported: bert, roberta"),
        ({"model_type": None}, "supported: bert, roberta"),
    ],
)
def test_unsafe_or_unsupported_configs_are_refused_by_key(repository, values, key):
    change(repository, **values)
    with pytest.raises(UserError, match=key):
        resolve_model(str(repository))


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000, "{" + " " * 2_000_000 + "}", "null"])
def test_a_config_that_is_none_is_refused(repository, text):
    (repository / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        checked_config(repository, "model", FAMILIES)


def test_a_harmless_key_is_dropped(repository):
    change(repository, _attn_implementation_autoset=True)
    assert "_attn_implementation_autoset" not in checked_config(repository, "model", FAMILIES)


def test_the_kernels_package_is_refused(tmp_path, monkeypatch):
    refuse_kernels()
    (tmp_path / "kernels.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="kernels"):
        refuse_kernels()


def test_a_folders_identity_is_its_content(repository, tmp_path):
    first = resolve_model(str(repository))
    moved = repository.rename(tmp_path / "elsewhere")
    again = resolve_model(str(moved))
    assert first.revision == again.revision
    assert again.name == f"elsewhere-{again.revision}"
    change(moved, hidden_dropout_prob=0.2)
    assert resolve_model(str(moved)).revision != again.revision


@pytest.mark.parametrize(
    ("missing", "extra", "message"),
    [
        ("model.safetensors", "pytorch_model.bin", "pickled .bin weights, which are not loaded"),
        ("model.safetensors", None, "no weights"),
        ("config.json", None, "config.json can't be read"),
    ],
)
def test_incomplete_folders_are_refused(repository, missing, extra, message):
    (repository / missing).unlink()
    if extra:
        (repository / extra).write_bytes(b"\x80\x04")
    with pytest.raises(UserError, match=message):
        resolve_model(str(repository))


def test_a_folder_that_points_to_other_weights_is_refused(repository):
    (repository / "adapter_config.json").write_text('{"base_model_name_or_path": "elsewhere"}')
    with pytest.raises(UserError, match=r"adapter_config\.json"):
        resolve_model(str(repository))


@pytest.mark.parametrize(("key", "value"), [("position_embedding_type", "relative_key"), ("is_decoder", True)])
def test_attention_that_is_not_ours_is_refused(repository, key, value):
    tokenizer = load_tokenizer(resolve_model(str(repository)), None)
    change(repository, **{key: value})
    with pytest.raises(UserError, match=f"its config.json says {key} {value!r}"):
        load_encoder(resolve_model(str(repository)), num_labels=3, seed=1, tokenizer=tokenizer)


def test_texts_are_cut_to_the_models_positions(repository):
    settings = json.loads((repository / "tokenizer_config.json").read_text())
    (repository / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": int(1e30)}))
    change(repository, max_position_embeddings=64)
    assert load_tokenizer(resolve_model(str(repository)), None).model_max_length == 64


def test_a_sentencepiece_tokenizer_names_the_package_it_needs(repository, monkeypatch):
    for file in ("vocab.txt", "tokenizer.json"):
        (repository / file).unlink()
    (repository / "spm.model").write_bytes(b"a model of sentencepiece")
    monkeypatch.setattr("tunekit.models.tokenizer.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"its tokenizer is spm.model; pip install sentencepiece$"):
        load_tokenizer(resolve_model(str(repository)), None)


def test_damaged_or_partial_weights_are_one_line(repository):
    from safetensors.torch import load_file, save_file

    ref = resolve_model(str(repository))
    tokenizer = load_tokenizer(ref, None)
    tensors = load_file(repository / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if "layer.0.output" not in name}
    save_file(kept, repository / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="of the encoder"):
        load_encoder(ref, num_labels=3, seed=1, tokenizer=tokenizer)
    (repository / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match="can't be loaded"):
        load_encoder(ref, num_labels=3, seed=1, tokenizer=tokenizer)


def test_a_checkpoints_own_classes_do_not_matter(repository):
    ref = resolve_model(str(repository))
    model = load_encoder(ref, num_labels=3, seed=1, tokenizer=load_tokenizer(ref, None))
    assert model.classifier.out_features == 3
    assert {"classifier.weight", "classifier.bias"} == model.tunekit_never_pretrained


def test_a_folder_called_like_a_tiny_model_is_loaded_from_its_files(repository):
    folder = repository.rename(repository.with_name("tiny-bert"))
    ref = resolve_model(str(folder))
    tokenizer = load_tokenizer(ref, None)
    model = load_encoder(ref, num_labels=2, seed=1, tokenizer=tokenizer)
    assert model.config.vocab_size == len(WORDS) == len(tokenizer)


def head_and_backbone(model):
    head = FAMILIES[model.config.model_type].head
    parts = {True: [], False: []}
    for name, parameter in model.named_parameters():
        parts[name.startswith(head)].append(parameter.detach().flatten())
    return torch.cat(parts[True]), torch.cat(parts[False])


@pytest.mark.parametrize("name", [pytest.param("minilm", marks=pytest.mark.model), "tiny-bert", "tiny-roberta"])
def test_seeds_move_the_head_and_share_the_backbone(name):
    tokenizer = build(specify(model=name))[0].tokenizer
    ref = resolve_model(name)
    state = torch.random.get_rng_state()
    first, again, other = (load_encoder(ref, num_labels=3, seed=seed, tokenizer=tokenizer) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    (head, backbone), (same_head, _), (other_head, other_backbone) = map(head_and_backbone, (first, again, other))
    assert torch.equal(head, same_head)
    assert not torch.equal(head, other_head)
    assert torch.equal(backbone, other_backbone)
    if name != "tiny-roberta":
        assert any(name.startswith("bert.pooler.") for name in first.tunekit_never_pretrained)


def test_minilm_checks_its_hash_and_names_its_extra(monkeypatch):
    hub.folder_of_minilm.cache_clear()
    with pytest.raises(UserError, match="does not have sha256"):
        hub.folder_of_minilm("0" * 64)
    monkeypatch.setattr(hub, "MINILM_PACKAGE", "no-such-package")
    with pytest.raises(UserError, match=r"pip install -e"):
        hub.folder_of_minilm(MODELS["minilm"].revision)


TOKENIZERS = """
import hashlib
from tests.support.trials import build, specify
for model in ("tiny-bert", "tiny-roberta"):
    tokenizer = build(specify(model=model, method="head"))[0].tokenizer
    print(hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest())
"""


@pytest.mark.slow
def test_tiny_tokenizers_are_the_same_in_every_process(all_clients):
    assert all_clients.online(TOKENIZERS) == all_clients.offline(TOKENIZERS)
