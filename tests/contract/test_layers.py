"""The layers of the code: one table, held against every import of every file, those in functions included."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.layers import Import, circles, libraries, only_late, outside, read_imports, upward, within

PACKAGES = ("tunekit", "analysis", "benchmarks", "sweeps")
LAYERS = (
    # Low to high. An entry imports entries of lower layers only: none above it, none beside it.
    ("tunekit.errors", "tunekit.signals", "tunekit.seeding"),
    ("tunekit.parsing",),
    ("tunekit.registry", "tunekit.training_options", "tunekit.tasks.bio"),  # the scheme of tags, which data reads
    ("tunekit.schema",),
    ("tunekit.storage",),
    ("tunekit.data",),
    ("tunekit.models",),
    ("tunekit.methods", "tunekit.tasks"),
    ("tunekit.memory",),
    ("tunekit.store",),
    ("tunekit.planning",),
    ("tunekit.engine", "tunekit.search", "tunekit.trackers"),
    ("tunekit.worker", "tunekit.export"),
    ("tunekit.runner",),
    ("analysis",),
    ("tunekit.commands",),
    ("tunekit.api",),
    ("tunekit", "tunekit.__main__"),
    ("analysis.__main__",),
    ("benchmarks", "sweeps"),
)

LOADED_LATE = ("tunekit.seeding", "tunekit.models.tiny", "tunekit.methods._bottleneck")
"""Modules below the engine that import torch at their top: what lies below the engine imports them in functions."""
MAY_LOAD_TORCH = ("tunekit.engine", "tunekit.worker", "tunekit.export", "tunekit.runner", "benchmarks", *LOADED_LATE)
TORCH = (
    MAY_LOAD_TORCH,
    ("tunekit.models", "tunekit.methods", "tunekit.data", "tunekit.tasks", "tunekit.commands"),
)
LIBRARIES = {
    # Who may import a library anywhere, and who only in functions and for types.
    "ray": (("tunekit.runner", "benchmarks"), ()),
    "optuna": (("tunekit.search", "benchmarks"), ("tunekit.methods", "analysis")),
    "torch": TORCH,
    "transformers": TORCH,
    "adapters": TORCH,
    "peft": TORCH,
    "datasets": ((), ("tunekit.data",)),
    "triton": (("tunekit.engine.kernels.fused",), ("tunekit.engine.kernels",)),
    "matplotlib": (("analysis",), ("tunekit.api",)),
    "scipy": (("analysis", "benchmarks"), ()),
    "sklearn": (("analysis", "tunekit.engine", "tunekit.tasks", "tunekit.worker"), ()),
}
SEEN_BY_ANALYSIS = (
    *("tunekit.errors", "tunekit.parsing", "tunekit.registry", "tunekit.schema", "tunekit.storage", "tunekit.store"),
    *("tunekit.memory", "tunekit.tasks", "tunekit.search.choosing"),
)
MOST_FILES_AT_THE_TOP = 10


def analysis_sees_what_it_may(imports: Sequence[Import]) -> list[str]:
    """analysis imports little of tunekit; its ``__main__`` also calls the commands."""

    def allowed(one: Import) -> bool:
        commands = ("tunekit.commands", "tunekit.__main__") if one.source == "analysis.__main__" else ()
        return within(one.target, (*SEEN_BY_ANALYSIS, *commands))

    return outside(imports, "analysis", "tunekit", allowed)


def analysis_is_called_by_commands_and_api(imports: Sequence[Import]) -> list[str]:
    """Of tunekit, only commands and api import analysis, in functions and for types."""
    callers = ("tunekit.commands", "tunekit.api")
    return outside(imports, "tunekit", "analysis", lambda one: one.late and within(one.source, callers))


RULES: dict[str, Callable[[Sequence[Import]], list[str]]] = {
    "imports go down": lambda imports: upward(imports, LAYERS),
    "no circle": circles,
    "libraries at their places": lambda imports: libraries(imports, LIBRARIES),
    "what loads torch is loaded late": lambda imports: only_late(imports, LOADED_LATE, MAY_LOAD_TORCH),
    "analysis sees what it may": analysis_sees_what_it_may,
    "analysis is called by commands and api": analysis_is_called_by_commands_and_api,
}


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    return read_imports(ROOT, PACKAGES)


def imports_of_tests(imports: Sequence[Import]) -> list[Import]:
    """Return the imports of test files, which no file may have: what tests share lies in ``tests/support``."""
    return [one for one in imports if one.target.rpartition(".")[2].startswith("test_")]


def crowd_at_the_top(root: Path) -> list[str]:
    """Return the files at the top of ``tunekit/`` if there are too many."""
    names = sorted(file.name for file in (root / "tunekit").glob("*.py"))
    return names if len(names) > MOST_FILES_AT_THE_TOP else []


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_the_code_keeps_the_rule(rule, imports):
    assert RULES[rule](imports) == []


@pytest.mark.parametrize(
    ("rule", "breach"),
    [
        ("imports go down", [Import("tunekit.runner.grid", "tunekit.commands.console")]),
        ("imports go down", [Import("tunekit.engine.run", "tunekit.worker.attempt", late=True)]),
        ("imports go down", [Import("tunekit.data.base", "tunekit.store.records")]),
        ("imports go down", [Import("tunekit.schema", "tunekit")]),
        ("imports go down", [Import("tunekit.api", "sweeps.main_grid")]),
        ("no circle", [Import("a", "b"), Import("b", "c", late=True), Import("c", "a")]),
        ("libraries at their places", [Import("tunekit.worker.attempt", "ray.tune", late=True)]),
        ("libraries at their places", [Import("tunekit.planning.plan", "optuna", late=True)]),
        ("libraries at their places", [Import("tunekit.methods.base", "optuna.trial")]),
        ("libraries at their places", [Import("tunekit.models.loading", "torch")]),
        ("libraries at their places", [Import("tunekit.planning.plan", "transformers", late=True)]),
        ("libraries at their places", [Import("tunekit.api", "matplotlib.figure")]),
        ("what loads torch is loaded late", [Import("tunekit.methods.lora", "tunekit.methods._bottleneck")]),
        ("analysis sees what it may", [Import("analysis.cells", "tunekit.planning.plan", late=True)]),
        ("analysis sees what it may", [Import("analysis.cells", "tunekit.search.study")]),
        ("analysis sees what it may", [Import("analysis.cells", "tunekit.commands.grid")]),
        ("analysis is called by commands and api", [Import("tunekit.commands.grid", "analysis.console")]),
        ("analysis is called by commands and api", [Import("tunekit.runner.grid", "analysis.console", late=True)]),
    ],
)
def test_a_breach_of_the_rule_is_found(rule, breach):
    assert len(RULES[rule](breach)) == 1


def test_a_package_that_no_layer_names_is_refused():
    with pytest.raises(KeyError, match=r"tunekit\.attic\.box is in no layer"):
        upward([Import("tunekit.attic.box", "tunekit.errors")], LAYERS)


@pytest.mark.slow
def test_no_test_file_is_imported():
    assert imports_of_tests(read_imports(ROOT, ("tests",))) == []
    assert len(imports_of_tests([Import("tests.engine.test_run", "tests.engine.test_packs")])) == 1


def test_imports_are_read_wherever_they_stand(tmp_path):
    folder = tmp_path / "house" / "cellar"
    folder.mkdir(parents=True)
    (tmp_path / "house" / "__init__.py").write_text("")
    (folder / "wine.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "import house\n"
        "from house import attic\n"
        "from house.attic import box\n"
        "if TYPE_CHECKING:\n    import torch.nn\n"
        "class Rack:\n    import ray\n    def draw(self):\n        from house.cellar import wine, cork\n"
        "try:\n    import optuna\nexcept ImportError:\n    pass\n"
    )
    (tmp_path / "house" / "attic.py").write_text("")
    found = {(one.target, one.late) for one in read_imports(tmp_path, ["house"])}
    assert found == {
        ("typing", False), ("house", False), ("house.attic", False), ("torch.nn", True), ("ray", False),
        ("house.cellar.wine", True), ("house.cellar", True), ("optuna", False),
    }  # fmt: skip


def test_few_files_lie_at_the_top(tmp_path):
    assert crowd_at_the_top(ROOT) == []
    (tmp_path / "tunekit").mkdir()
    for number in range(MOST_FILES_AT_THE_TOP + 1):
        (tmp_path / "tunekit" / f"room{number}.py").write_text("")
    assert len(crowd_at_the_top(tmp_path)) == MOST_FILES_AT_THE_TOP + 1
