"""Effective posterior draws a second, beside rstanarm, nutpie and blackjax under equal priors.

``python -m validation.bench_bayes`` (``make bench-bayes``) writes ``report.md`` and ``results.json``. Each program
runs in a process of its own; rounds alternate between them. All write their draws to a file, and one formula (ours,
which is tested against ArviZ) finds the effective sample sizes of all.

Reading order: ``cases``, the workers (``worker_refglmm``, ``worker_python``, ``r_worker.R``), ``figures``,
``single``, ``report``, ``run``.
"""
