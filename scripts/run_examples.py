"""Run the examples of docs/python.md and examples/notebook.ipynb and write what they print; with --check, compare.

The page's blocks that begin with ```python are run in order, in one namespace; what one prints stands in a ```text
block behind it. The notebook's code cells are run likewise; of outputs that have an HTML form, the text is kept.
"""

import ast
import contextlib
import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "python.md"
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"
_BLOCK = re.compile(r"```python\n(.*?)```\n(?:\n```text\n.*?```\n)?", re.S)


def ran(source: str, namespace: dict[str, Any]) -> tuple[str, str]:
    """What a piece of code prints, and how the value of its last expression shows itself, as in a notebook."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as written:
        exec(compile(tree, "<example>", "exec"), namespace)
        value = eval(compile(ast.Expression(last.value), "<example>", "eval"), namespace) if last is not None else None
    return written.getvalue(), "" if value is None else repr(value)


def page_with_outputs(text: str) -> str:
    """The page with what its blocks print."""
    namespace: dict[str, Any] = {}

    def shown(block: re.Match[str]) -> str:
        printed, value = ran(block[1], namespace)
        output = "\n".join(filter(None, (printed.rstrip("\n"), value)))
        lines = "\n".join(line.rstrip() for line in output.splitlines())
        return f"```python\n{block[1]}```\n" + (f"\n```text\n{lines}\n```\n" if lines else "")

    return _BLOCK.sub(shown, text)


def notebook_with_outputs(text: str) -> str:
    """The notebook with the outputs of its code cells."""
    notebook, namespace = json.loads(text), {}  # type: ignore[var-annotated]
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for count, cell in enumerate(cells, start=1):
        printed, value = ran("".join(cell["source"]), namespace)
        outputs: list[dict[str, Any]] = []
        if printed:
            outputs.append({"name": "stdout", "output_type": "stream", "text": printed.splitlines(keepends=True)})
        if value:
            data = {"text/plain": value.splitlines(keepends=True)}
            outputs.append({"data": data, "execution_count": count, "metadata": {}, "output_type": "execute_result"})
        cell |= {"execution_count": count, "outputs": outputs}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write both files, or say which would change."""
    stale = []
    for path, fill in ((PAGE, page_with_outputs), (NOTEBOOK, notebook_with_outputs)):
        before = path.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            after = fill(before)
        if after != before:
            stale.append(str(path.relative_to(ROOT)))
            if "--check" not in arguments:
                path.write_text(after, encoding="utf-8")
    if stale:
        what = "print something else than they show" if "--check" in arguments else "written"
        print(f"{', '.join(stale)}: {what}" + ("; run `make docs`" if "--check" in arguments else ""), file=sys.stderr)
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # the outputs are those of the processor
    sys.exit(main(sys.argv[1:]))
