"""A sweep of small trials with kept weights, and its exports, made once."""

from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO

import pytest

from tests.support.exports import SPECS, cell
from tests.support.runs import begin, finish
from tunekit.__main__ import main
from tunekit.store.requests import cells_of
from tunekit.store.result_store import ResultStore


@pytest.fixture(scope="session")
def sweep(tmp_path_factory):
    """A sweep of one or more trials of each name, with the weights of their last epoch."""
    root = tmp_path_factory.mktemp("export") / "sweep"
    specs = [spec for group in SPECS.values() for spec in group]
    for spec in specs:
        finish(begin(spec, root, "last"))
    ResultStore(root).add_request({"cells": cells_of([*specs, replace(SPECS["full"][0], seed=4)])})
    return root


@pytest.fixture(scope="session")
def exported(sweep, tmp_path_factory):
    """Folder of the export of each name, made once."""
    made = {}

    def of(name, *more):
        if (name, *more) not in made:
            to, spec = tmp_path_factory.mktemp("to") / name, SPECS[name][0]
            line = ["export", sweep, *cell(spec), "--seed", spec.seed, "--epoch", "last", "--to", to, *more]
            with redirect_stdout(StringIO()):
                assert main([str(one) for one in line]) == 0
            made[name, *more] = to
        return made[name, *more]

    return of
