"""The grammar of claims and the YAML file that holds them; ``analysis.claims.verdicts`` tests the claims."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from analysis.claims.row import BEST, ClaimRow, parse_row
from analysis.compare import SEEDS_DO_NOT_MOVE
from tunekit.errors import UserError
from tunekit.parsing import did_you_mean, read_yaml
from tunekit.schema import readable
from tunekit.tasks import task_of

OFF_ITEMS = ("train_loss", "train_seconds", *SEEDS_DO_NOT_MOVE)
"""The metrics whose value does not depend on the items that are scored."""
_NUMBER = r"\d+(?:\.\d+)?"
_ROW = r"[^\s()<>*\[\]]+(?:\[[^\[\]]*\])?"
_MEAN = re.compile(rf"(?P<a>{_ROW}) (?P<sign>[<>]) (?:(?P<factor>{_NUMBER}) \* )?(?P<b>{_ROW})")
_STD = re.compile(rf"std\((?P<a>{_ROW})\) (?P<sign>[<>]) std\((?P<b>{_ROW})\)")
_WITHIN = re.compile(rf"(?P<a>{_ROW}) within (?P<margin>{_NUMBER})(?P<points> points?)? of (?P<b>{_ROW})")
_BEST = re.compile(rf"(?P<a>{_ROW}) best")
_FORMS = "a > b, a < b, a < 0.75 * b, a best, a within 2 points of b, a within 0.3 of b, std(a) < std(b), a[r=8] > b"


class Quantifier(StrEnum):
    """The number of a claim's parts that must hold."""

    ALL = "all"
    MOST = "most"


class Relation(StrEnum):
    """The relation between its rows a and b that a part states."""

    ABOVE = "above"
    BELOW = "below"
    WITHIN = "within"
    STD_ABOVE = "std above"
    STD_BELOW = "std below"

    @property
    def of_stds(self) -> bool:
        """Whether it is about standard deviations, not means."""
        return self in (Relation.STD_ABOVE, Relation.STD_BELOW)


@dataclass(frozen=True)
class Part:
    """One statement about rows ``a`` and ``b`` on one dataset in one metric."""

    statement: str
    a: ClaimRow
    relation: Relation
    b: ClaimRow
    dataset: str
    metric: str
    factor: float = 1.0
    """The factor of b's value in ABOVE and BELOW."""
    margin: float = 0.0
    """The margin of WITHIN as the metric is recorded: 0.02 for two points."""


@dataclass(frozen=True)
class Claim:
    """A sentence and the parts it comes down to."""

    id: str
    text: str
    quantifier: Quantifier
    parts: tuple[Part, ...]
    note: str = ""
    """A note on how the sentence was read, or on why a number is missing."""

    @property
    def required(self) -> int:
        """The number of parts that must hold: all of them, or the least number above half."""
        return len(self.parts) if self.quantifier is Quantifier.ALL else len(self.parts) // 2 + 1


class _Pair(NamedTuple):
    """A parsed statement before it meets a dataset and a metric."""

    statement: str
    a: ClaimRow
    relation: Relation
    b: ClaimRow
    factor: float = 1.0
    margin: float = 0.0
    in_points: bool = False
    """Whether the margin is in points."""
    is_best: bool = False
    """Whether it says that a is better than b, whichever way the metric is better; the relation is ABOVE."""


def load_claims(path: Path | None = None) -> list[Claim]:
    """Return the claims of a YAML file, by default the study's nine, whose ``study_claims.yaml`` explains the form.

    Raises UserError naming the file, the claim and what is wrong; a file over 1 MB and YAML aliases are refused.
    """
    where = str(path) if path else "study_claims.yaml"
    content = _mapping(
        read_yaml(path or resources.files("analysis.claims") / "study_claims.yaml", where),
        ("rows", "datasets", "claims"),
        ("configuration",),
        where,
    )
    rows, datasets = (_names(content[key], f"{where}: {key}") for key in ("rows", "datasets"))
    for row in rows:
        if "[" in row:
            raise UserError(f"{where}: rows has {row!r}; name settings in the statements, not in rows")
    if "configuration" in content:
        _known(content["configuration"], (BEST,), "configuration", where)
    named = _KnownRows(tuple(rows), "configuration" in content)
    if not isinstance(content["claims"], list) or not content["claims"]:
        raise UserError(f"{where}: claims must be a list of claims")
    claims: list[Claim] = []
    for number, entry in enumerate(content["claims"], 1):
        name = entry.get("id") if isinstance(entry, dict) else None
        claim = _claim(entry, named, datasets, f"{where}, claim {name or number}")
        if claim.id in [other.id for other in claims]:
            raise UserError(f"{where}, claim {claim.id}: there are two claims of this id; rename one")
        claims.append(claim)
    return claims


class _KnownRows(NamedTuple):
    """The rows that a file may name."""

    names: tuple[str, ...]
    best: bool
    """Whether the file asks for the choice on validation in all of its rows."""


def _claim(entry: object, rows: _KnownRows, datasets: Sequence[str], where: str) -> Claim:
    values = _mapping(entry, ("id", "text", "quantifier", "parts"), ("note",), where)
    for key in ("id", "text", "note"):
        if key in values and not (isinstance(values[key], str) and values[key].strip()):
            raise UserError(f"{where}: {key} must be text, not {values[key]!r}")
    quantifier = Quantifier(_known(values["quantifier"], tuple(Quantifier), "quantifier", where))
    if not isinstance(values["parts"], list) or not values["parts"]:
        raise UserError(f"{where}: parts must be a list of statements with their datasets and metrics")
    parts = [part for item in values["parts"] for part in _parts(item, rows, datasets, where)]
    twice, times = Counter(parts).most_common(1)[0]
    if times > 1:
        raise UserError(f"{where}: {twice.statement!r} occurs twice for {twice.dataset}, {twice.metric}")
    return Claim(values["id"], values["text"], quantifier, tuple(parts), values.get("note", ""))


def _parts(item: object, rows: _KnownRows, datasets: Sequence[str], where: str) -> list[Part]:
    values = _mapping(item, ("statements", "datasets", "metrics"), ("among",), where)
    among = (
        [_row(name, rows, where) for name in _names(values["among"], f"{where}: among")] if "among" in values else []
    )
    statements = _names(values["statements"], f"{where}: statements")
    pairs = [pair for text in statements for pair in _pairs(text, rows, among, where)]
    named = list(datasets) if values["datasets"] == "all" else _names(values["datasets"], f"{where}: datasets")
    metrics = _names(values["metrics"], f"{where}: metrics")
    if among and not any(_BEST.fullmatch(text) for text in statements):
        raise UserError(f"{where}: among belongs to a statement 'a best', and there is none")
    found = [_known(name, datasets, "dataset", where) for name in named]
    return [_part(pair, dataset, metric, where) for pair, dataset, metric in product(pairs, found, metrics)]


def metrics_on(dataset: str) -> tuple[str, ...]:
    """Return the metrics that a claim may name on ``dataset``: the scores of its task, then those of every trial."""
    scores = tuple(metric.name for metric in task_of(dataset).metrics)
    return (*scores, *(("overfit",) if "accuracy" in scores else ()), *OFF_ITEMS)


def _part(pair: _Pair, dataset: str, metric: str, where: str) -> Part:
    """Return the part that a statement makes on one dataset in one metric."""
    _known(metric, metrics_on(dataset), "metric", f"{where}, on {readable(dataset)}")
    task, relation, margin, statement = task_of(dataset), pair.relation, pair.margin, pair.statement
    if pair.is_best or relation is Relation.WITHIN:
        names = [one.name for one in task.metrics]
        if metric not in names:
            raise UserError(f"{where}: {statement!r} is for {', '.join(names)}; for {metric} write a > b or a < b")
    if pair.is_best and task.metric(metric).sign < 0:
        relation, statement = Relation.BELOW, statement.replace(" > ", " < ")
    if relation is Relation.WITHIN:
        in_percent = task.metric(metric).unit == "%"
        if in_percent and not pair.in_points:
            raise UserError(f"{where}: {statement!r}: {metric} is in percent; write within {margin:g} points of")
        if pair.in_points and not in_percent:
            raise UserError(f"{where}: {statement!r}: {metric} has no points; write within {margin:g} of, in its unit")
        margin = margin / 100 if in_percent else margin
    return Part(statement, pair.a, relation, pair.b, dataset, metric, pair.factor, margin)


def _pairs(text: str, rows: _KnownRows, among: Sequence[ClaimRow], where: str) -> list[_Pair]:
    """Return the statements about two rows that ``text`` comes down to.

    ``a best`` is ``a > b`` for every other row b of ``among``, or ``a < b`` where less is better.
    """
    if match := _BEST.fullmatch(text):
        best = _row(match["a"], rows, where)
        others = [row for row in among if row != best]
        if not others:
            raise UserError(f"{where}: {text!r} needs the rows it is best of, as in `among: [bert, roberta]`")
        return [_Pair(f"{best} > {other}", best, Relation.ABOVE, other, is_best=True) for other in others]
    match = _MEAN.fullmatch(text) or _STD.fullmatch(text) or _WITHIN.fullmatch(text)
    if not match:
        raise UserError(f"{where}: {text!r} is not a statement; write one of {_FORMS}")
    a, b = (_row(match[key], rows, where) for key in ("a", "b"))
    if a == b:
        raise UserError(f"{where}: {text!r} compares a row with itself")
    if match.re is _WITHIN:
        margin, in_points = float(match["margin"]), match["points"] is not None
        if margin == 0:
            raise UserError(f"{where}: {text!r} needs a margin above 0; no test shows that two means are the same")
        return [_Pair(text, a, Relation.WITHIN, b, margin=margin, in_points=in_points)]
    if match.re is _STD:
        return [_Pair(text, a, Relation.STD_ABOVE if match["sign"] == ">" else Relation.STD_BELOW, b)]
    factor = float(match["factor"] or 1)
    if factor == 0:
        raise UserError(f"{where}: {text!r} compares with 0, not with a row")
    return [_Pair(text, a, Relation.ABOVE if match["sign"] == ">" else Relation.BELOW, b, factor)]


def _row(name: str, rows: _KnownRows, where: str) -> ClaimRow:
    _known(name.partition("[")[0], rows.names, "row", where)
    try:
        return parse_row(name, rows.best)
    except ValueError as error:
        raise UserError(f"{where}: {name}: {error}") from error


def _known(name: object, known: Sequence[str], kind: str, where: str) -> str:
    """Return ``name`` if it is one of ``known``. Raises UserError, which says what it may be, where it is none."""
    if isinstance(name, str) and name in known:
        return name
    hint = did_you_mean(name, known) or f", it must be one of {', '.join(known)}"
    raise UserError(f"{where}: unknown {kind} {name!r}{hint}")


def _mapping(value: object, needed: Sequence[str], optional: Sequence[str], where: str) -> Mapping[str, Any]:
    """Return ``value`` as a mapping with all ``needed`` keys and none but these and the ``optional`` ones."""
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected a mapping of {', '.join((*needed, *optional))}")
    for key in value:
        _known(key, (*needed, *optional), "key", where)
    missing = [key for key in needed if key not in value]
    if missing:
        raise UserError(f"{where}: missing {', '.join(missing)}")
    return value


def _names(value: object, where: str) -> list[str]:
    """Return a name or a list of different names."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise UserError(f"{where} must be a name or a list of names, not {value!r}")
    if len(set(names)) < len(names):
        raise UserError(f"{where} has one name twice: {', '.join(names)}")
    return names
