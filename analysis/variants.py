"""Texts that tell the cells of one model, dataset and method apart, by roles in a search, settings and fingerprints."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.names import setting_texts, varying
from analysis.sweep_records import SweepRecords
from tunekit.store.search_records import ROLES


def variants(found: Sequence[Mapping[str, Any]], records: SweepRecords) -> list[str]:
    """Return the variant of each cell, whose fields are ``found``.

    Two cells of one model, dataset and method never have the same variant; cells of a search are told apart only from
    each other. A variant is empty where there is nothing to tell apart.
    """
    roles = roles_of(records)
    keys = [_group(fields) for fields in found]
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for key, fields in zip(keys, found, strict=True):
        groups.setdefault(key, []).append(fields["settings"])
    names = varying(groups)
    settings = {key: iter(setting_texts(members, names)) for key, members in groups.items()}
    same = Counter(zip(keys, (fields["key"] for fields in found), strict=True))
    texts = []
    for key, fields in zip(keys, found, strict=True):
        parts = [roles.get(fields["key"]), next(settings[key])]
        parts += [f"fingerprint {fields['fingerprint']}"] if same[key, fields["key"]] > 1 else []
        texts.append(", ".join(filter(None, parts)))
    counts = Counter(zip(keys, texts, strict=True))
    return [
        text if counts[key, text] == 1 else ", ".join(filter(None, [text, f"spec {_digest(fields['key'])}"]))
        for key, fields, text in zip(keys, found, texts, strict=True)
    ]


def _group(fields: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(fields[name] for name in ("model", "dataset", "method", "searched"))


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:6]


def roles_of(records: SweepRecords) -> dict[str, str]:
    """Return the roles for which a search chose a cell, such as ``best, 1se``, by the cell's key."""
    if not records.searches:
        return {}
    keys = dict(zip(records.trials["trial_id"], records.trials["cell"], strict=True))
    roles: dict[str, dict[str, None]] = {}
    for choice in (choice for search in records.searches for choice in search.choices):
        for key in {keys[one] for one in choice.trial_ids if one in keys}:
            roles.setdefault(key, {})[choice.role] = None
    return {key: ", ".join(sorted(names, key=ROLES.index)) for key, names in roles.items()}
