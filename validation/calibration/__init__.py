"""Whether intervals cover, p-values are uniform and simulated residuals fit, on data from known models.

``python -m validation.calibration`` (``make calibrate``) draws 500 data sets from each of several models, on the rows
of real data, and does with each what an analyst would do: fit, intervals by every method, simulated residuals, tests.
It writes ``validation/calibration/report.md``, three pictures and ``results.json``, from which
``python -m validation.calibration.report`` makes the others again.

Every data set has a random stream of its own, so the numbers depend on the seed and not on the workers. What fails is
counted and listed. Every share stands with its Monte Carlo standard error.

The modules, in reading order: ``counting`` (shares and their errors), ``theory`` (what the shares should be, where
that has a closed form), ``designs`` (the models and their true parameters), ``tasks`` (what is done with one data
set), ``gather`` (many data sets into counts), ``reasons`` (why some intervals do not cover), ``plot``, ``report``,
``run``.
"""
