"""Which trials can be one pack, told from their specs, is what their built members say."""

from itertools import combinations

import pytest

from tests.support.packs import PACKED, member_of, specs_of
from tests.support.trials import specify
from tunekit.engine.member import packable
from tunekit.models.loading import resolve_model
from tunekit.planning.batching import largest_pack, shared_in_packs

MODELS = {name: resolve_model(name) for name in ("tiny-bert", "tiny-roberta")}


def test_the_largest_group_is_found_whatever_its_seeds_rates_and_ranks():
    lora = [specify(seed=seed, method_params={"r": 2 * seed}, learning_rate=seed * 1e-3) for seed in (1, 2, 3)]
    full = [specify(seed=seed, method="full") for seed in (1, 2)]
    alone = [specify(seed=seed, method="prefix") for seed in range(1, 9)]
    other = [specify(seed=seed, model="tiny-roberta") for seed in (1, 2)]
    assert largest_pack([*full, *alone, *lora, *other], MODELS) == lora
    assert largest_pack([*other, *full], MODELS) == other
    assert largest_pack(alone, MODELS) == alone[:1]


@pytest.mark.slow
def test_members_that_share_less_can_be_no_pack():
    specs = [specs_of(method)[index] for method in PACKED[:3] for index in (0, 1)]
    specs += [specify(batch_size=8, train_limit=76), specify(batch_size=8, train_limit=32)]
    for one, other in combinations([member_of(spec) for spec in specs], 2):
        assert packable([one, other]) == (shared_in_packs(one.spec) == shared_in_packs(other.spec))
