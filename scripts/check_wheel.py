"""Build the wheel from the files that git knows, and check what an index and a newcomer would get.

    python scripts/check_wheel.py [FOLDER]     keep the wheel in FOLDER

What is built lies in a scratch folder, so that nothing left over from an earlier build gets in. Fails with the reason.
"""

import argparse
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import zipfile
from pathlib import Path

from packaging.metadata import Metadata

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 100_000_000  # bytes: what PyPI takes of one file unless asked for more
WANTED = (
    "legible/py.typed", "legible/__main__.py", "legible/serve/web/index.html", "legible/templates/reading.html.j2",
    "legible/pairs/builtin/av/nla_meta.yaml", "legible/pairs/smollm2/av/nla_meta.yaml",
)  # fmt: skip


def build(scratch: Path) -> Path:
    """The wheel of a copy of the working tree, ignored files left out."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (scratch / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, scratch / "tree" / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--wheel-dir", str(scratch / "dist"), str(scratch / "tree")], check=True)
    (wheel,) = (scratch / "dist").glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    """The package and its pairs, whole, and nothing else."""
    with zipfile.ZipFile(wheel) as opened:
        names = [name for name in opened.namelist() if not name.endswith("/")]
    rooms = {name.split("/")[0] for name in names}
    assert rooms == {"legible", f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"}, f"unexpected folders: {rooms}"
    strange = [name for name in names if re.search(r"(^|/)(tests?|benchmarks|__pycache__)/|\.pyc$", name)]
    assert not strange, f"files that no user needs: {strange[:5]}"
    missing = [name for name in WANTED if name not in names]
    assert not missing, f"files that are missing: {missing}"
    package = ROOT / "src" / "legible"
    modules = {f"legible/{path.relative_to(package)}" for path in package.rglob("*.py")}
    assert modules <= set(names), f"modules that are missing: {sorted(modules - set(names))[:5]}"
    size = wheel.stat().st_size
    assert size < LARGEST, f"{size / 1e6:.1f} MB, an index takes at most {LARGEST / 1e6:.0f}"
    print(f"{wheel.name}: {size / 1e6:.1f} MB, {len(names)} files")


def check_metadata(wheel: Path) -> None:
    """What an index reads: valid, under our name, with a description whose links work there."""
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (each for each in opened.namelist() if each.endswith(".dist-info/METADATA"))
        found = Metadata.from_email(opened.read(name), validate=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert found.name == project["name"], found.name
    assert found.description_content_type == "text/markdown", found.description_content_type
    assert found.license_expression == project["license"], found.license_expression
    relative = re.findall(r"\]\((?!https?://|mailto:)[^)]*\)", found.description or "")
    assert not relative, f"links that lead nowhere on an index page: {relative[:5]}"


def check_import(wheel: Path, scratch: Path) -> None:
    """The wheel alone in an environment: it is imported, and the program says its version."""
    home = scratch / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", str(wheel)], check=True)
    code = "import legible; print(legible.__file__, legible.__version__)"
    where, version = run([str(python), "-I", "-c", code]).split()
    assert Path(where).is_relative_to(home), f"{where} is not the wheel's"
    assert version == wheel.name.split("-")[1], f"legible.__version__ is {version}, the wheel's {wheel.name}"
    beside = f"import sys; sys.path.append({sysconfig.get_paths()['purelib']!r})"  # typer and pydantic, not installed
    ask = (
        f"{beside}; sys.argv = ['legible', '--version']; import runpy; runpy.run_module('legible', run_name='__main__')"
    )
    said = run([str(python), "-I", "-c", ask])
    assert said.strip() == f"legible {version}", said


def run(command: list[str]) -> str:
    """What a command prints, called from elsewhere than the repository."""
    return subprocess.run(command, cwd=tempfile.gettempdir(), capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Build, check, and keep the wheel where a folder is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, help="folder that keeps the wheel; absent: it is only checked")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as scratch:
        wheel = build(Path(scratch))
        check_contents(wheel)
        check_metadata(wheel)
        check_import(wheel, Path(scratch))
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            print(shutil.copy2(wheel, out))


if __name__ == "__main__":
    main()
