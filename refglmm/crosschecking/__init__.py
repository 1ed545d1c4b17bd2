"""Other software's numbers against ours: what they are worth, and which convention explains a difference.

Place in the reading order: after ``model``, before ``teaching``. Read ``reported`` (what somebody else's program or
paper says), ``names`` and ``place`` (where that lies among our parameters), ``objectives`` (exact log-likelihoods
there), ``conventions`` and ``errors_match`` (what else explains their numbers), ``verdict`` (thresholds and one
sentence), ``report`` (:class:`Crosscheck`) and ``check`` (:func:`refglmm.crosscheck`, the whole story).

The package is not called ``crosscheck``: importing a submodule of such a package would put the module in the place of
the function ``refglmm.crosscheck``.
"""
