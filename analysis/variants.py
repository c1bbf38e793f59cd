"""How the cells of one model, dataset and method are told apart: by roles in a search, settings and fingerprints."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.names import setting_text, varying
from analysis.sweep_records import SweepRecords
from tunekit.store.search_records import ROLES


def variants(found: Sequence[Mapping[str, Any]], records: SweepRecords) -> list[str]:
    """Return the variant of each cell, whose fields are ``found``; the cells of a search are told apart from each other
    only.

    Two cells of one model, dataset and method never have the same variant. It is empty where there is nothing to tell
    apart.
    """
    roles = _roles(records)
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for fields in found:
        groups.setdefault(_group(fields), []).append(fields)
    names = varying({key: [fields["settings"] for fields in members] for key, members in groups.items()})
    texts = []
    for fields in found:
        same_key = sum(other["key"] == fields["key"] for other in groups[_group(fields)])
        parts = [roles.get(fields["key"]), setting_text(fields["settings"], names)]
        parts += [f"fingerprint {fields['fingerprint']}"] if same_key > 1 else []
        texts.append(", ".join(filter(None, parts)))
    counts = Counter((_group(fields), text) for fields, text in zip(found, texts, strict=True))
    return [
        text if counts[_group(fields), text] == 1 else ", ".join(filter(None, [text, f"spec {_digest(fields['key'])}"]))
        for fields, text in zip(found, texts, strict=True)
    ]


def _group(fields: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(fields[name] for name in ("model", "dataset", "method", "searched"))


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:6]


def _roles(records: SweepRecords) -> dict[str, str]:
    """Return the roles for which a search chose a cell, such as ``best, 1se``, by the cell's key."""
    if not records.searches:
        return {}
    keys = dict(zip(records.trials["trial_id"], records.trials["cell"], strict=True))
    roles: dict[str, dict[str, None]] = {}
    for choice in (choice for search in records.searches for choice in search.choices):
        for key in {keys[one] for one in choice.trial_ids if one in keys}:
            roles.setdefault(key, {})[choice.role] = None
    return {key: ", ".join(sorted(names, key=ROLES.index)) for key, names in roles.items()}
