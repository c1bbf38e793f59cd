"""deploy/grafana/tunekit.json asks for metrics and labels that there are."""

import json
import re

from tests.conftest import ROOT
from tunekit.runner.metrics import CELL, COUNTERS, gauges

EXPORTED = {f"ray_{name}" for name in gauges()} | {f"ray_{name}_total" for name in COUNTERS}
LABELS = {*CELL, "slot", "SessionName", "NodeAddress"}
"""Ours, and those that Ray adds."""
WORDS = {"sum", "by", "count"}


def names_in(expression: str) -> set[str]:
    """Metrics that an expression of PromQL names."""
    bare = re.sub(r"\{[^}]*\}|by \([^)]*\)", "", expression)
    return set(re.findall(r"[a-z_]\w+", bare)) - WORDS


def test_every_expression_names_a_metric_that_exists_and_every_metric_is_shown():
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "tunekit.json").read_text())
    targets = [target for panel in dashboard["panels"] for target in panel["targets"]]
    assert all(len(names_in(target["expr"])) == 1 for target in targets)
    assert set().union(*(names_in(target["expr"]) for target in targets)) == EXPORTED
    labels = {name for target in targets for name in re.findall(r"(\w+)=~", target["expr"])}
    shown = {name for target in targets for name in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])}
    assert labels | shown <= LABELS
    variables = {one["name"]: one for one in dashboard["templating"]["list"]}
    used = {name for target in targets for name in re.findall(r"\$(\w+)", target["expr"])}
    assert used | {"datasource"} == set(variables)
    for one in variables.values():
        if one["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", one["definition"]).groups()
            assert metric in EXPORTED
            assert label in LABELS
    places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
    assert len(set(places)) == len({panel["id"] for panel in dashboard["panels"]}) == len(places)


def test_the_check_can_fail():
    assert not names_in("sum(ray_tunekit_epochs{model=~'x'})") <= EXPORTED
