"""Parity with Hugging Face: the same batches, padded by ``transformers.Trainer`` and packed by the engine."""

import numpy as np
import pytest
import torch
from transformers import Trainer, TrainingArguments

from benchmarks.support.trial import without_dropout
from tests.conftest import needs_real_data
from tests.support.combinations import usually
from tests.support.trials import build, specify
from tunekit.engine.member import Member
from tunekit.engine.train import Pack

pytestmark = pytest.mark.slow

STEPS = 20


class SameBatches(Trainer):
    """Trainer over given batches, in order, that keeps each step's exact loss (its log rounds)."""

    def __init__(self, batches: list[dict[str, torch.Tensor]], **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.batches, self.losses = batches, []

    def get_train_dataloader(self):
        return self.batches

    def compute_loss(self, *args: object, **kwargs: object) -> torch.Tensor:
        loss = super().compute_loss(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


def trainer_losses(model, batches, spec, folder) -> list[float]:
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=STEPS, learning_rate=spec.learning_rate, report_to=[], use_cpu=True,
        save_strategy="no", disable_tqdm=True, per_device_train_batch_size=spec.batch_size,
    )  # fmt: skip
    trainer = SameBatches(batches, model=model, args=arguments)
    trainer.train()
    return trainer.losses


MODELS = {
    "tiny-bert": 16,
    "tiny-roberta": 16,
    "tiny-electra": 16,
    "tiny-distilbert": 16,
    "tiny-deberta": 16,
    "tiny-modernbert": 16,
    "minilm": 4,
}
"""With batch sizes."""
CASES = [(model, method) for model in MODELS for method in ("full", "lora", "adapter", "pfeiffer")]
RARE = {
    ("tiny-roberta", "lora"), ("tiny-roberta", "pfeiffer"), ("tiny-electra", "adapter"), ("tiny-electra", "pfeiffer"),
    ("tiny-distilbert", "pfeiffer"), ("minilm", "pfeiffer"),
}  # fmt: skip
"""Cases whose forward pass is another case's: the layers of RoBERTa and ELECTRA are BERT's, and the Pfeiffer adapter is
the adapter's code in another place."""
CASES += [("tiny-bert", method) for method in ("bitfit", "ia3", "prefix", "dora", "head")]
CASES += [("tiny-distilbert", "prefix"), ("tiny-electra", "dora"), ("tiny-deberta", "ia3")]
CASES += [("tiny-modernbert", "head"), ("tiny-modernbert", "dora")]


@needs_real_data
@pytest.mark.parametrize(("model", "method"), usually([case for case in CASES if case not in RARE], CASES))
def test_losses_agree_with_trainer(model, method, tmp_path):
    batch_size = MODELS[model]
    spec = specify(
        model=model,
        dataset="restaurant",
        method=method,
        batch_size=batch_size,
        epochs=1,
        train_limit=STEPS * batch_size,
    )
    prepared, first = build(spec)
    _, second = build(spec)
    member = Member(spec, without_dropout(first), prepared.splits["train"], torch.device("cpu"))
    assert not member.context.sites.sites
    tokens, labels = prepared.splits["train"].tokens, prepared.splits["train"].labels
    batches = []
    for indices in member.batches():
        rows = [{"input_ids": tokens.ids[tokens.offsets[i] : tokens.offsets[i + 1]].tolist()} for i in indices]
        padded = dict(prepared.tokenizer.pad(rows, return_tensors="pt"))
        batches.append({**padded, "labels": torch.from_numpy(labels[indices])})
    expected = trainer_losses(without_dropout(second), batches, spec, tmp_path)
    found = Pack([member]).train_epoch()[0].losses
    assert len(found) == len(expected) == STEPS
    assert np.ptp(found) > 1e-3, "a loss that never moves would agree with anything"
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
