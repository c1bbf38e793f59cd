"""Check, while planning, whether the models of a sweep that are on this machine can be trained on its data."""

from collections.abc import Iterator, Mapping, Sequence

from tunekit.data.base import DATASETS, TextDataset
from tunekit.errors import UserError
from tunekit.models.loading import ModelRef, checked_model, longest_text
from tunekit.schema import TrialSpec

DEFAULT_LENGTH = TrialSpec.max_length


def check_models(
    specs: Sequence[TrialSpec], models: Mapping[str, ModelRef], own_data: Mapping[str, TextDataset]
) -> None:
    """Raise UserError where a model of ``specs`` can't be loaded or can't take the texts.

    ``models`` are by their names in the specs, ``own_data`` has the user's own datasets by name. Nothing is fetched, so
    a model of the hub that is not in the cache passes.
    """
    for name, length in dict.fromkeys((spec.model, spec.max_length) for spec in specs):
        longest = longest_text(models[name])
        if longest is not None and longest < length != DEFAULT_LENGTH:
            raise UserError(
                f"model {name!r} takes texts of at most {longest} tokens, and max_length is {length}; "
                f"give --max-length {longest} or less"
            )
    for name, dataset in dict.fromkeys((spec.model, spec.dataset) for spec in specs):
        checked = checked_model(models[name])
        if checked is None or checked.type_ids is None or not checked.num_types:
            continue
        highest = checked.type_ids[_has_pairs(dataset, own_data)]
        if highest >= checked.num_types:
            raise UserError(
                f"model {name!r} has embeddings for {checked.num_types} token types, and its tokenizer gives type "
                f"{highest} to texts of dataset {dataset!r}; take another model for this dataset"
            )


def model_notes(specs: Sequence[TrialSpec], models: Mapping[str, ModelRef]) -> Iterator[str]:
    """Yield a line for each change to a model or its texts that nobody asked for, such as cutting texts."""
    for name in dict.fromkeys(spec.model for spec in specs):
        if checked := checked_model(models[name]):
            yield from checked.notes
        longest = longest_text(models[name])
        if longest is not None and any(spec.model == name and spec.max_length > longest for spec in specs):
            yield f"model {name}: texts are cut to {longest} tokens, the most that it takes"


def _has_pairs(dataset: str, own_data: Mapping[str, TextDataset]) -> bool:
    """Return whether the tokenizer is given the dataset's rows as pairs."""
    data = own_data.get(dataset)
    if data is None:
        return DATASETS[dataset].pair_as == "pair"
    return data.pair_as == "pair" and any(frame["pair"].notna().any() for frame in data.splits.values())
