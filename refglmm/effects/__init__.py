"""Means, contrasts, slopes and effects: linear functions of the fixed effects that people report.

Reading order: ``grid`` (which variables a model has, reference grids, their rows of X), ``derivatives`` (of those
rows in a numeric variable), ``scales`` (from the linear predictor to the mean, random effects at zero, integrated
or at a level), ``adjust`` (many tests at once), ``tables`` (how results print), ``contrasts``, ``means``,
``conditional``, ``marginal``, ``marginal_coefs``, ``effect_data``.
"""
