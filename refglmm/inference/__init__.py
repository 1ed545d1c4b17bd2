"""What a fit says about the population: intervals, tests, comparisons and diagnostics.

Every module takes a fit (:class:`refglmm.FittedModel`) and leaves it as it is.
"""
