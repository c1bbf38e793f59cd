"""What no module, CI's included, may do: unpickle, run text, load YAML's objects, unpack archives, use a shell."""

import ast

import pytest

from tests.conftest import ROOT

PACKAGES = ("tunekit", "analysis", "sweeps", "benchmarks")
MODULES = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "tarfile"}
CALLS = {
    "eval", "exec", "compile", "os.system", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "pd.read_pickle",
    "pandas.read_pickle", "shutil.unpack_archive", "zipfile.ZipFile",
}  # fmt: skip
ALLOWED = {"tunekit/planning/plugins.py": {"exec", "compile"}}
"""What a user names with --plugin is run; SECURITY.md says so."""
WANTED = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}


def unsafe(source: str) -> list[str]:
    """What a module does of the above, each with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [
            f"{node.lineno}: imports {name}" for name in names if name.split(".")[0] in MODULES or ".convert_" in name
        ]
        if isinstance(node, ast.Call):
            called, given = ast.unparse(node.func), {one.arg: ast.unparse(one.value) for one in node.keywords}
            keyword, value = WANTED.get(called, ("", None))
            lacks = keyword and given.get(keyword) != str(value)
            if called in CALLS or lacks or given.get("shell") == "True" or given.get("trust_remote_code") == "True":
                found.append(f"{node.lineno}: calls {called}")
    return found


@pytest.mark.slow
def test_no_module_is_unsafe():
    files = [path for folder in (*PACKAGES, ".ci") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    found = [
        f"{name}:{line}"
        for path in files
        for line in unsafe(path.read_text())
        if line.split()[-1] not in ALLOWED.get(name := path.relative_to(ROOT).as_posix(), ())
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from joblib import load", "import cloudpickle as c", "torch.load(path)",
        "torch.load(path, weights_only=False)", "yaml.load(text, Loader)", "eval(text)", "exec(text)",
        "import transformers.models.bert.convert_x as c", "np.load(path)", "subprocess.run(line, shell=True)",
        "AutoModel.from_pretrained(x, trust_remote_code=True)",
    ],
)  # fmt: skip
def test_the_lint_can_fail(source):
    assert unsafe(source)


def test_no_server_is_put_on_all_addresses():
    """What is printed or started listens on loopback."""
    files = [*(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")), ROOT / "README.md"]
    assert [path.name for path in files if "0.0.0.0" in path.read_text()] == []
