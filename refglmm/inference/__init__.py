"""What a fit says about the population: intervals, tests, comparisons and diagnostics.

Every module takes a fit (:class:`refglmm.FittedModel`) and leaves it as it is.

Intervals, in reading order: ``tasks`` (repeated work on any executor), ``parameters`` (what intervals are about),
``wald``, ``criterion`` (-2 log L of all parameters), ``held`` (all points with one parameter fixed),
``profile_result``, ``profile``, ``bootstrap``, ``confint``.

Groups: ``group_scores`` (score and information of each), ``sandwich``, ``score_influence``; ``dynamic`` (predictions of
groups from responses of theirs), ``scoring``.
"""
