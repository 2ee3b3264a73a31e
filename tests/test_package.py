"""The package as a whole: its public list, its layers, what it imports, what it ships."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cadenza
from cadenza.corpus import scan
from cadenza.model_folder import ModelFolder, bundled_corpus, bundled_model

SOURCE = Path(cadenza.__file__).parent
ROOT = SOURCE.parents[1]

# From the bottom up: a module imports only from lines above its own.
LAYERS = (
    {"errors", "version", "presets", "schema", "rotary", "moods", "machine"},
    {"files", "graph_rules", "score", "workers", "repetition"},
    {
        "smf",
        "vocabulary",
        "statistics",
        "pianoroll",
        "timing",
        "library",
        "character",
        "soundfont",
        "sheet.grid",
        "sheet.drums",
    },
    {"midi", "gaps", "likeness", "leaning", "sheet.spelling", "sheet.voices"},
    {"audio", "sheet.notation"},
    {"sheet.musicxml"},
    {"sheet"},
    {"context", "export", "corpus", "listening"},
    {"events"},
    {"closing", "form"},
    {"repertoire"},
    {"controls"},
    {"tokens", "grammar", "source"},
    {"dataset", "filling", "originality", "models.language_model", "processes"},
    {"models.recurrent", "models.transformer", "runtime", "graph"},
    {"models", "evaluation", "sampling", "model_card", "holdout"},
    {"options", "model_folder", "learner", "ahead"},
    {"tasks", "checkpoint", "preparation"},
    {"training", "candidates"},
    {"composer"},
    {"web.store", "web.guard", "web.notes"},
    {"web.uploads", "web.worker", "web.workforce"},
    {"web.server"},
    {"web.serving"},
    {"cli", "__init__", "web"},
    {"__main__"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def _modules() -> dict[str, ast.Module]:
    found = {}
    for path in SOURCE.rglob("*.py"):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        found[name.removesuffix(".__init__") if name != "__init__" else name] = ast.parse(path.read_text())
    return found


def _imports(tree: ast.Module) -> set[str]:
    """Modules of this package that are imported when the module is (or inside its functions)."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cadenza."):
            names.add(node.module.removeprefix("cadenza."))
    return names


def test_modules_import_only_from_the_layers_below() -> None:
    modules = _modules()
    assert set(modules) == set(LEVEL), "list every module in LAYERS"
    for name, tree in modules.items():
        for imported in _imports(tree):
            if (name, imported) != ("score", "export"):  # Score.save is the way out, resolved when called
                assert LEVEL[imported] < LEVEL[name], f"{name} imports {imported}"


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("symusic", {"midi"}),
        ("onnxruntime", {"runtime"}),
        ("onnx", {"graph"}),
        (
            "torch",
            {
                "training",
                "checkpoint",
                "learner",
                "processes",
                "models.language_model",
                "models.recurrent",
                "models.transformer",
            },
        ),
        ("sqlite3", {"library", "web.store"}),
        ("fastapi", {"web.server"}),
        ("uvicorn", {"web.serving"}),
        ("midirenderer", {"audio"}),
        ("soundfile", {"audio"}),
        ("argparse", {"cli"}),
    ],
)
def test_each_library_has_one_home(library: str, home: set[str]) -> None:
    users = set()
    for name, tree in _modules().items():
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names.append(node.module)
            if any(n.split(".")[0] == library for n in names):
                users.add(name)
    assert users == home


def test_the_public_list_is_what_can_be_imported_and_is_documented() -> None:
    for name in cadenza.__all__:
        item = getattr(cadenza, name)
        assert name.startswith("__") or item.__doc__, name
    assert sorted(cadenza.__all__) == cadenza.__all__
    with pytest.raises(AttributeError):
        cadenza.nothing  # noqa: B018


def test_composing_needs_no_torch() -> None:
    script = (
        "import sys\n"
        "for name in ('torch', 'onnx'): sys.modules[name] = None\n"
        "import cadenza.cli, cadenza.composer, cadenza.corpus, cadenza.evaluation\n"
        "piece = cadenza.composer.Composer.from_pretrained().compose(bars=2, seed=1)\n"
        "assert len(piece.score)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


RUNS_WHAT_IT_READS = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


def _runs_what_it_reads(node: ast.AST) -> bool:
    """Whether code that lies in a file could be run by this: pickles, and texts taken for programs."""
    if isinstance(node, ast.Import):
        return any(each.name.split(".")[0] in RUNS_WHAT_IT_READS for each in node.names)
    if isinstance(node, ast.ImportFrom):
        names = {each.name for each in node.names} if node.module in ("torch", "numpy") else set()
        return (node.module or "").split(".")[0] in RUNS_WHAT_IT_READS or bool(names & {"load", "save"})
    if not isinstance(node, ast.Call):
        return False
    called, given = ast.unparse(node.func), {each.arg: ast.unparse(each.value) for each in node.keywords}
    plain = given.get("allow_pickle") == "False"
    return (
        called in ("eval", "exec", "compile", "__import__", "torch.load", "torch.save")
        or called.endswith("read_pickle")
        or (called in ("np.load", "numpy.load") and not plain)
        or ("allow_pickle" in given and not plain)
    )


def test_no_file_is_run_or_unpickled() -> None:
    for folder in (SOURCE, ROOT / "tools", ROOT / "benchmarks"):
        for path in folder.rglob("*.py"):
            found = [node for node in ast.walk(ast.parse(path.read_text())) if _runs_what_it_reads(node)]
            assert not found, f"{path}: {ast.unparse(found[0])}"


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from marshal import loads",
        "import joblib.numpy_pickle",
        "from torch import load",
        "torch.load(path, weights_only=True)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.lib.format.read_array(file, allow_pickle=wanted)",
        "pandas.read_pickle(path)",
        "eval(text)",
        "exec(text)",
    ],
)
def test_what_runs_what_it_reads_is_seen(code: str) -> None:
    assert any(_runs_what_it_reads(node) for node in ast.walk(ast.parse(code)))
    for harmless in (
        "model.eval()",
        "np.load(path, allow_pickle=False)",
        "json.loads(text)",
        "re.compile(text)",
    ):
        assert not any(_runs_what_it_reads(node) for node in ast.walk(ast.parse(harmless)))


def test_every_bundled_piece_is_listed_credited_and_usable() -> None:
    folder = bundled_corpus()
    lines = [json.loads(line) for line in (folder.parent / "manifest.jsonl").read_text().splitlines()]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {line["path"] for line in lines} == files
    for line in lines:
        data = (folder / line["path"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == line["sha256"]
        assert line["licence"] and line["source"]
    credit = (folder.parent / "CREDITS.md").read_text()
    assert {path.split("/")[0] for path in files} == set(re.findall(r"- `(\w+)`", credit))
    sample = scan(folder / "hymns")
    assert not sample.skipped


def test_the_bundled_model_is_small_and_composes() -> None:
    files = [path for path in bundled_model().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 25_000_000
    config = ModelFolder.open(bundled_model()).config
    assert config["corpus"]["folder"] == "free-music"
    piece = cadenza.Composer.from_pretrained().compose(bars=4, seed=3)
    assert len(piece.score) > 8


def test_the_version_is_the_same_everywhere() -> None:
    assert f"version: {cadenza.__version__}" in (ROOT / "CITATION.cff").read_text()
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changelog or f"## [{cadenza.__version__}]" in changelog


def test_the_python_blocks_of_the_readme_run(tmp_path: Path, folder: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        code = block.replace('"midi_songs"', repr(str(folder))).replace(
            "minutes=3", 'preset="tiny", epochs=1'
        )
        script = f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        script += (
            "import conftest\nfrom cadenza import presets\npresets.PRESETS['tiny'] = conftest.TINY\n" + code
        )
        subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)


def test_the_readme_lists_every_module() -> None:
    text = (ROOT / "README.md").read_text()
    for name in _modules():
        if not name.startswith("__"):
            assert f"{name.split('.')[-1]}.py" in text or f"{name}/" in text, name


COPYLEFT = re.compile(r"\b(A|L)?GPL|copyleft|MPL|EUPL|CC.BY.(SA|NC)|unknown", re.IGNORECASE)
# The first versions without holes that are known (see the advisories CVE-2026-54283, GHSA-v9pg-7xvm-68hf, CVE-2026-24747).
WITHOUT_HOLES = {"starlette": (1, 5, 1), "python-multipart": (0, 0, 31), "torch": (2, 10)}


def test_nothing_that_is_needed_or_ships_is_copyleft() -> None:
    told = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "sbom.py")], check=True, capture_output=True, text=True
    )
    components = json.loads(told.stdout)["components"]
    assert {"numpy", "torch", "fastapi", "preact"} <= {each["name"] for each in components}
    for each in components:
        licence = each["licenses"][0]["license"]["name"]
        assert any(not COPYLEFT.search(choice) for choice in licence.split(" OR ")), (each["purl"], licence)


def test_versions_with_known_holes_are_not_allowed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [each for extra in ("train", "web") for each in project["optional-dependencies"][extra]]
    floors = dict(each.split(">=") for each in wanted)
    pinned = dict(re.findall(r"(?m)^([\w-]+)==([\d.]+)", (ROOT / "constraints.txt").read_text()))
    for name, least in WITHOUT_HOLES.items():
        for version in (floors[name], pinned[name]):
            assert tuple(map(int, version.rstrip(".").split("."))) >= least, (name, version)
