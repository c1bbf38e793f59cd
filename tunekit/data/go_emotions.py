"""GoEmotions (Demszky et al. 2020), in its simplified form: any of 27 emotions, or neutral, for a comment."""

from tunekit.data.hub_catalog import HUB_DATASETS, HubEntry
from tunekit.data.sources import DataSource

HUB_DATASETS.register("go_emotions")(
    HubEntry(
        source=DataSource(
            "hf:google-research-datasets/go_emotions/simplified@add492243ff905527e67aeb8b80c082af02207c3",
            label="labels",
            skip_bad_rows=True,
            task="multi_label",
            name="GoEmotions",
        ),
        licence="Apache-2.0 (its card)",
    )
)
