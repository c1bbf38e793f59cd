"""CoNLL-2003 (Tjong Kim Sang and De Meulder 2003) and WNUT-17 (Derczynski et al. 2017): entities in English texts.

On the hub both are scripts, which are never run. The data is read from the hub's own conversion to Parquet, whose
commit is looked up in each plan and recorded with the sweep.
"""

from tunekit.data.hub_catalog import HUB_DATASETS, HubEntry
from tunekit.data.hub_files import CONVERTED
from tunekit.data.sources import DataSource


def _source(dataset: str, name: str) -> DataSource:
    return DataSource(
        f"hf:{dataset}@{CONVERTED}",
        text="tokens",
        label="ner_tags",
        skip_bad_rows=True,
        task="token_classification",
        name=name,
    )


HUB_DATASETS.register("conll2003")(
    HubEntry(
        source=_source("eriktks/conll2003/conll2003", "CoNLL-2003"),
        licence="other (its card); the texts are of the Reuters corpus, whose terms hold",
    )
)
HUB_DATASETS.register("wnut17")(
    HubEntry(source=_source("leondz/wnut_17/wnut_17", "WNUT-17"), licence="CC-BY-4.0 (its card)")
)
