"""The static site: executed notebooks, teaching pages and the library's reference.

Built by `make site` from the project's root, so that links between pages and notebooks are the
same on the site, in an editor and on GitHub. Nothing is fetched from the network, now or later.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import pkgutil
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

import iapc_lib

project = "IAPC notebooks"
author = "the authors of IAPC notebooks"
version = release = iapc_lib.__version__
html_title = "IAPC notebooks"

root_doc = "docs/index"
include_patterns = ["docs/**", "notebooks/**"]
exclude_patterns = [
    ".*",
    "**/.ipynb_checkpoints",
    *("benchmarks", "build", "data", "iapc_lib", "papermill_runs", "tests"),
]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # or pages would ask a server for widgets that have no kernel here

default_role = "code"  # docstrings write `code` in single backticks
add_module_names = False
autodoc_default_options = {"members": True, "exclude-members": "model_config"}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False

templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_theme = "sphinx_book_theme"
html_theme_options = {
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": True,
    "home_page_in_toc": True,
}
html_additional_pages = {"index": "start.html"}  # the site's own start is docs/index.html
html_copy_source = True
html_show_sourcelink = False

# Formulas are set by a copy of MathJax that travels with the site.
mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config = {"options": {"enableMenu": False}}
MATHJAX = Path(importlib.util.find_spec("sphinx-mathjax-offline").origin).parent / "static/mathjax"

WIDGET = "application/vnd.jupyter.widget-view+json"
EXPLORER_NOTE = (
    "*Here a running notebook shows the explorer. It needs Python behind it:* `make lab` *or* "
    "`make voila`."
)
MODULE = re.compile(r"^\{module\} ([\w.]+)$", re.MULTILINE)
MODULES = re.compile(r"^\{modules\} ([\w.]+)$", re.MULTILINE)
OUTSIDE_LINK = re.compile(r"\[([^\]]+)\]\((?:\.\./)+((?:benchmarks/)?[A-Z]+\.md)(?:#[\w-]*)?\)")
CODE_LINK = re.compile(r"\[`([\w.]+)`\]\((?:\.\./)+(iapc_lib/[\w/]+)\.py\)")


def copy_mathjax(app, exception) -> None:
    """Formulas need a script and its fonts; the package holds much more."""
    if exception is None and app.builder.format == "html":
        target = Path(app.outdir, "_static", "mathjax")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(MATHJAX / "tex-chtml.js", target)
        fonts = "output/chtml/fonts"
        shutil.copytree(MATHJAX / fonts, target / fonts, dirs_exist_ok=True)


def prepare_source(app, docname: str, source: list[str]) -> None:
    if docname.startswith("notebooks/"):
        source[0] = json.dumps(prepare_notebook(json.loads(source[0])))
    else:
        source[0] = list_modules(link_code(unlink(source[0])))


def list_modules(text: str) -> str:
    """`{modules} PACKAGE` on a line of its own: the reference of every module of the package."""
    text = MODULES.sub(lambda match: "\n".join(map(automodule, modules_of(match[1]))), text)
    return MODULE.sub(lambda match: automodule(match[1]), text)


def modules_of(name: str) -> Iterator[str]:
    """A package's modules, those of the packages in it included.

    A package with `__all__` says itself what it offers: it stands for its modules.
    """
    package = importlib.import_module(name)
    for module in pkgutil.iter_modules(package.__path__, f"{name}."):
        if module.ispkg and not hasattr(importlib.import_module(module.name), "__all__"):
            yield from modules_of(module.name)
        elif not module.name.rpartition(".")[2].startswith("_"):
            yield module.name


def automodule(name: str) -> str:
    return f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n"


def unlink(text: str) -> str:
    """Links to pages that are not on the site, such as README.md, become the words and the name."""
    return OUTSIDE_LINK.sub(lambda m: m[1] if m[1] in m[2] else f"{m[1]} (`{m[2]}`)", text)


def link_code(text: str) -> str:
    """Links to a name in the library's source become links to its place in the reference."""

    def reference(match: re.Match) -> str:
        name, file = match.groups()
        module = file.removesuffix("/__init__").replace("/", ".")
        return f"{{py:obj}}`{name} <{module}.{name}>`"

    return CODE_LINK.sub(reference, text)


def prepare_notebook(notebook: dict) -> dict:
    """A notebook as a page can show it: without live widgets, every picture with a text."""
    notebook["metadata"].pop("widgets", None)
    heading = ""
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            heading = headings[-1] if headings else heading
            cell["source"] = unlink(text)
            continue
        cell["outputs"] = [shown for o in cell.get("outputs", []) if (shown := prepare_output(o))]
        pictures = [o for o in cell["outputs"] if "image/png" in o.get("data", {})]
        if pictures:
            given = pictures[0].get("metadata", {}).get("image/png", {}).get("alt")
            alt = given or cell["metadata"].get("alt")
            alt = (
                alt or f"Figure in the section “{heading}”; the text beside it says what it shows."
            )
            image = cell["metadata"].setdefault("mystnb", {}).setdefault("image", {})
            image.setdefault("alt", alt)
    return notebook


def prepare_output(output: dict) -> dict | None:
    """None for a finished progress bar, a sentence for an explorer, other outputs as they are."""
    if WIDGET not in output.get("data", {}):
        if twin := output.get("data", {}).get("text/html"):  # nothing live here that it stands for
            output["data"]["text/html"] = "".join(twin).replace(
                '<details class="iapc-twin">', '<details class="iapc-twin" open>'
            )
        return output
    text = "".join(output["data"].get("text/plain", ""))
    if "Explorer" not in text and "Playground" not in text:
        return None
    return {"output_type": "display_data", "data": {"text/markdown": EXPLORER_NOTE}, "metadata": {}}


def prepare_docstring(app, what, name, obj, options, lines: list[str]) -> None:
    """Markdown tables, which reStructuredText would read as verse, and sentences of attributes."""
    # An empty line first, or napoleon takes words before a colon for the attribute's type.
    made = [""] if what in ("attribute", "data", "property") else []
    for is_table, group in itertools.groupby(lines, lambda line: line.lstrip().startswith("| ")):
        rows = list(group)
        made += list_table(rows) if is_table else rows
    lines[:] = made


def prepare_signature(app, what, name, obj, options, signature, returns):
    """A section of the configuration shows its fields' defaults; their types stand below."""
    if what != "class" or not issubclass(obj, BaseModel):
        return None
    defaults = {
        n: "..." if isinstance(f.default, BaseModel) else repr(f.default)
        for n, f in obj.model_fields.items()
    }
    fields = [n if obj.model_fields[n].is_required() else f"{n}={d}" for n, d in defaults.items()]
    return f"({', '.join(fields)})", None


def list_table(rows: list[str]) -> list[str]:
    """A Markdown table, line by line, as reStructuredText's `list-table`."""
    indent = " " * (len(rows[0]) - len(rows[0].lstrip()))
    made = [".. list-table::", "   :header-rows: 1", ""]
    for row in [rows[0], *rows[2:]]:  # the second line is Markdown's rule
        cells = [
            cell.strip() for cell in row.strip().removeprefix("|").removesuffix("|").split("|")
        ]
        made += [f"   {'* -' if place == 0 else '  -'} {cell}" for place, cell in enumerate(cells)]
    return [indent + line for line in [*made, ""]]


def setup(app) -> None:
    app.connect("source-read", prepare_source)
    app.connect("autodoc-process-signature", prepare_signature)
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)
    app.connect("build-finished", copy_mathjax)
