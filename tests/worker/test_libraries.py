"""A process that trains imports what training calls and no more, and can import the rest afterwards."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

# Each of them is loaded by a plain import of a model's class, or by a module that is.
LEFT_OUT = ("sklearn", "scipy", "opentelemetry", "boto3", "torch._dynamo", "torch.distributed.tensor", "sympy")


def last_line(code: str, before: str = "") -> str:
    """Run ``before``, load the libraries, run ``code``, in a new process. Return the last line that it printed."""
    code = f"from tunekit.worker import libraries\n{before}\nlibraries.load_libraries()\n{code}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_process_that_trains_imports_nothing_that_training_does_not_call():
    code = f"""
import gc, json, sys
import tunekit as tk
libraries = gc.get_freeze_count()
block = tk.Block(
    models=("tiny-bert",), datasets=("demo",), methods=("full", "lora", "adapter"), seeds=(1,), epochs=1, train_limit=64
)
for spec in tk.plan(block).specs:
    tk.train(spec)
assert min(libraries, gc.get_freeze_count()) > 100_000, "collections of garbage search the libraries"
assert "tunekit.engine.run" in sys.modules and "peft" in sys.modules
print(json.dumps([name for name in {(*LEFT_OUT, "datasets", "matplotlib")!r} if name in sys.modules]))
"""
    assert json.loads(last_line(code)) == []


def test_what_the_libraries_leave_out_can_be_imported_afterwards():
    code = """
import sys
import sklearn.metrics, scipy.stats, torch
from transformers import FNetForSequenceClassification, GPT2Config, GPT2Model, masking_utils
assert "torch._dynamo" not in sys.modules
decoder = GPT2Model(GPT2Config(n_layer=1, n_embd=32, n_head=2, vocab_size=50)).eval()
words, mask = torch.arange(8).view(2, 4), torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
alone = decoder(words[:1, :3]).last_hidden_state
padded = decoder(words, attention_mask=mask).last_hidden_state[:1, :3]  # its masks ask for the compiler's module
assert torch.allclose(alone, padded, atol=1e-6)
assert type(masking_utils.TransformGetItemToIndex()).__module__.startswith("torch._dynamo")
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item(), torch._dynamo.config.disable)
"""
    assert last_line(code) == "2.0 False"


def test_a_version_of_torch_that_asks_more_of_its_compiler_gets_the_real_one():
    before = "libraries._compiler = lambda: dict.fromkeys(['torch._dynamo'])"
    code = """
import sys
from transformers import BertModel
print(sys.modules["torch._dynamo"].__name__, "tunekit.worker.attempt" in sys.modules, "scipy" in sys.modules)
"""
    assert last_line(code, before) == "torch._dynamo True False"
