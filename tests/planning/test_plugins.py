"""Users' own files: what they register, how they are refused, what enters a fingerprint."""

from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.documented import EXAMPLE, files_of
from tests.support.trials import build, fingerprint, specify
from tunekit.errors import UserError
from tunekit.methods import METHODS
from tunekit.methods.base import count_parameters
from tunekit.models.catalog import MODELS
from tunekit.planning import plugins
from tunekit.tasks import task_of

pytestmark = pytest.mark.usefixtures("without_plugins")
METHOD = 'from tunekit.methods.base import METHODS\nMETHODS.register("{name}")({item})\n'
CLASS = """
from dataclasses import dataclass
@dataclass(frozen=True)
class Mine:
    {fields}
    def suggest(trial): ...
    def prepare(self, model): ...
Mine.display_name, Mine.learning_rate = "Mine", 1e-3
"""


def written(folder: Path, text: str, name: str = "mine.py") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_the_example_of_the_documentation_registers_and_trains_norms(tmp_path):
    plugins.load([written(tmp_path, EXAMPLE)])
    for biases, share in ((1, 2), (0, 1)):
        _, model = build(specify(method="norms", method_params={"biases": biases}))
        assert count_parameters(model)[0] == share * 5 * 32 + 32 * 32 + 32 + 3 * 32 + 3
    [found] = plugins.described()
    assert (found["name"], len(found["sha256"])) == ("mine.py", 64)
    plugins.load([tmp_path / "mine.py"])
    assert len(plugins.active()) == 1


def test_its_code_is_part_of_the_fingerprint_and_a_comment_is_not(tmp_path):
    found = []
    for change in ("", "# a comment\n", "OTHER = 1\n"):
        plugins.load([written(tmp_path, change + EXAMPLE)])
        found.append(fingerprint(specify(method="norms")).code)
    assert found[0] == found[1] != found[2]
    assert found[0] != fingerprint(specify(method="lora")).code


def test_the_documented_task_is_that_of_its_dataset_and_part_of_the_fingerprint(tmp_path):
    text = files_of(ROOT / "docs" / "adding.md")["poly.py"]
    found = []
    for value in ("1.0", "2.0"):
        plugins.load([written(tmp_path, text.replace("EPSILON = 1.0", f"EPSILON = {value}"))])
        assert task_of("demo-poly").name == "poly"
        found.append(fingerprint(specify(dataset="demo-poly")).code)
    assert found[0] != found[1]
    assert fingerprint(specify(dataset="demo")).code not in found


def test_models_are_registered_alike(tmp_path):
    text = (
        "from tunekit.models.catalog import MODELS, ModelInfo\n"
        'MODELS.register("mine")(ModelInfo(display_name="Mine", hub_id="org/mine", revision="0" * 40,'
        ' shape=MODELS["bert"].shape))\n'
    )
    plugins.load([written(tmp_path, text)])
    assert MODELS["mine"].hub_id == "org/mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "plugin mine.py registers nothing"),
        ("x = 1\ndef f(:\n", "plugin mine.py, line 2: invalid syntax"),
        ("import no_such_package\n", "plugin mine.py, line 1: ModuleNotFoundError: No module named"),
        ("\n\n1 / 0\n", "plugin mine.py, line 3: ZeroDivisionError: division by zero"),
        (METHOD.format(name="lora", item="int"), "plugin mine.py: the name of method 'lora' is taken"),
        (METHOD.format(name="mine", item="int"), "plugin mine.py: method 'mine' is no dataclass"),
        (CLASS.format(fields="rank: int = 1") + METHOD.format(name="My Own", item="Mine"), "as in 'my-own'"),
        (CLASS.format(fields="rank: int") + METHOD.format(name="mine", item="Mine"), "its fields need defaults"),
        (EXAMPLE.replace("def prepare", "def other"), "plugin mine.py: method 'norms' has no prepare"),
        (
            'from tunekit.models.catalog import MODELS\nMODELS.register("mine")(3)\n',
            "model 'mine' is a int, not a ModelInfo",
        ),
    ],
)
def test_what_is_no_plugin_is_one_line_and_leaves_nothing(tmp_path, text, message):
    before = list(METHODS), list(MODELS)
    with pytest.raises(UserError) as refused:
        plugins.load([written(tmp_path, text)])
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert (list(METHODS), list(MODELS), plugins.active()) == (*before, ())


def test_a_missing_file_is_one_line(tmp_path):
    for path, why in ((tmp_path / "none.py", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(UserError, match=f"^plugin .* can't be read: {why}$"):
            plugins.load([path])
    (tmp_path / "latin.py").write_bytes(b"# caf\xe9\n")
    with pytest.raises(UserError, match=r"latin.py can't be read: it is no UTF-8 text$"):
        plugins.load([tmp_path / "latin.py"])
