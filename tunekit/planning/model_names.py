"""Find the model that a user names, and suggest the hub id of a model that is widely known by another name."""

import re
from pathlib import Path

from tunekit.errors import UserError
from tunekit.models.catalog import MODELS
from tunekit.models.loading import ModelRef, resolve_model

ORGANISATIONS = {
    r"bert-(base|large)-(multilingual-|german-)?(un)?cased(-whole-word-masking)?|bert-base-chinese": "google-bert",
    r"roberta-(base|large)|xlm-roberta-(base|large)": "FacebookAI",
    r"distil(bert|roberta)-base(-(multilingual-)?(un)?cased)?": "distilbert",
    r"deberta-(v3-)?(xsmall|small|base|large)|mdeberta-v3-base": "microsoft",
    r"electra-(small|base|large)-discriminator": "google",
    r"scibert_scivocab_(un)?cased": "allenai",
}
"""The organisations, on the hub, of models that are widely known without them, by a pattern of the models' names."""
PACKAGED = {"minilm": "sentence-transformers/all-MiniLM-L6-v2"}
"""The hub ids of registered models that come from a package."""


def known_as(text: str) -> str | None:
    """Return a hint with the hub id, or the registered name, of the model that ``text`` may mean; None without one."""
    typed = text.partition("@")[0].lower()
    name = typed.rpartition("/")[2]
    for registered in MODELS:
        hub_id = PACKAGED.get(registered) or MODELS[registered].hub_id
        if hub_id is not None and hub_id.lower() == typed:
            return f"it is registered as {registered}"
        if hub_id is not None and hub_id.rpartition("/")[2].lower() == name:
            return f"did you mean {hub_id}, registered as {registered}?"
    for pattern, organisation in ORGANISATIONS.items():
        if re.fullmatch(pattern, name) and f"{organisation}/{name}".lower() != typed:
            return f"did you mean {organisation}/{name}?"
    return None


def find_model(text: str) -> ModelRef:
    """Return the model that ``text`` names, as ``resolve_model`` does.

    Raises UserError where there is no such model. Its message ends with the hint of ``known_as``, if there is one. A
    name without its organisation, such as ``bert-base-uncased``, is refused with that hint.
    """
    hint = known_as(text)
    bare = "/" not in text and text not in MODELS and not Path(text).expanduser().is_dir()
    if hint and bare:
        raise UserError(f"unknown model {text!r}, {hint}")
    try:
        return resolve_model(text)
    except UserError as error:
        if hint and not bare:
            raise UserError(f"{error}; {hint}") from error
        raise


def check_registered(text: str) -> None:
    """Raise UserError where ``text`` is the name of no registered model. The message says which one may be meant."""
    hint = known_as(text)
    if hint and text not in MODELS:
        raise UserError(f"unknown model {text!r}, {hint}")
    MODELS[text]
