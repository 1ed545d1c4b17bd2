"""Settings of the book: Sphinx with MyST-NB. Every cell is executed when the book is built; a warning is an error."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path

import refglmm

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

# Cells run in kernels of their own, which inherit these: sharp pictures, no progress bars, no colours.
os.environ["IPYTHONDIR"] = str(HERE / "_ipython")
os.environ["TQDM_DISABLE"] = "1"
os.environ["NO_COLOR"] = "1"
os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"

# A colour scheme of the theme turns on everybody's log; the notebooks' client would write a line a page.
logging.getLogger("traitlets").setLevel(logging.WARNING)

# Kernels are compiled here, so that no page shows the line that says so. Runs as short as these earn warnings.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    formula, cbpp = "cbind(incidence, size - incidence) ~ period + (1 | herd)", refglmm.datasets.load("cbpp")
    model = refglmm.GLMM(formula, cbpp, "binomial", prior=refglmm.prior_normal())
    model.fit()
    model.variational(iter=10, draws=10, n_runs=1, seed=1, progress=False)
    draws = model.sample(sampling=10, warmup=10, chains=1, seed=1, progress=False)
    draws.ranef(), draws.log_lik  # worked out when asked for

project = "refglmm"
author = "The refglmm developers"
project_copyright = "The refglmm developers"
release = refglmm.__version__
version = release

extensions = [
    "myst_nb",
    "quoted",
    "interactive",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx-mathjax-offline",
]
exclude_patterns = ["_build", "_ipython", "examples"]

# ------------------------------------------------------------------------------------------- MyST, notebooks
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
# "force" runs every page; "cache" spares pages whose cells did not change, for writing (the library may have changed).
nb_execution_mode = os.environ.get("REFGLMM_DOCS_EXECUTION", "force")
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True

# ------------------------------------------------------------------------------------------------------ HTML
html_theme = "furo"
html_title = f"refglmm {release}"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_copy_source = False
html_show_sourcelink = False
copybutton_selector = "div.cell_input pre, div.highlight-console pre"
copybutton_prompt_text = "$ "
