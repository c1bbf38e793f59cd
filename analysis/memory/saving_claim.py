"""The verdict on the study's claim that the adapter saves memory, by the closed form, wherever it is shown."""

from analysis.claims.measured import Lookup, Measured
from analysis.claims.row import ClaimRow
from analysis.claims.verdicts import ClaimResult, evaluate, load_claims
from analysis.memory.comparison import METHODS, compare_memory
from analysis.statistics.this_set import Sample

CLAIM = "adapter_saves_memory"
MODEL = "roberta"


def with_closed_form(beside: Lookup) -> Lookup:
    """Return ``beside``, with the peak memory of RoBERTa's methods by the closed form, whatever the dataset.

    A run is a batch size and a length of its sequences; methods have the study's hyperparameters.
    """

    def lookup(row: ClaimRow, dataset: str, metric: str) -> Measured:
        if metric != "peak_memory_bytes" or row.model != MODEL or row.method not in METHODS or row.settings:
            return beside(row, dataset, metric)
        own = compare_memory(MODEL, None).query("method == @row.method")
        runs = {f"{one['batch']} x {one['length']}": float(one["ours_peak"]) for one in own.to_dict("records")}
        return Measured(runs=runs, sample=Sample.of(runs.values()), configuration=_configuration(row), kind="workloads")

    return lookup


def saving_verdict() -> ClaimResult:
    """Return the verdict on the study's claim that the adapter saves at least 3/4 of the memory."""
    claim = next(one for one in load_claims() if one.id == CLAIM)
    return evaluate([claim], with_closed_form(lambda row, dataset, metric: Measured()))[0]


def _configuration(row: ClaimRow) -> str:
    params = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in METHODS[row.method].items())
    return f"closed form{f' ({params})' if params else ''}, batch size x tokens a sequence"
