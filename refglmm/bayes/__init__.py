r"""The posterior of a model, and what is done with it: mode, draws, approximations, marginal likelihood.

Place in the reading order: after ``plots``, before ``fitted``. In itself:

=====================  ===============================================================================================
``scalars``            scales and prior densities of single numbers
``target``             the log posterior and its gradient, one jitted function
``distributions``      the densities' constants and quantiles; ``prior_kinds``: what a user says about priors
``priors``             the prior of every parameter of a model; ``posterior`` puts model and priors together
``residuals``          residual correlation, and residual standard deviations by cell
``whiten``             the metric as a change of coordinates
``laplace``            the mode with the random effects integrated out, and the curvature around it; ``block_laplace``
``trees``, ``chain``   the NUTS transition, ``adaptation``, chains; ``stepping``: one transition point by point
``advi``               variational approximations
``proposal``           a normal density fitted to draws, in any number of dimensions
``bridge``             marginal likelihood by bridge sampling
``savage_dickey``      Bayes factor against a point null from the draws of one model
``bayes_factor``       models compared by their marginal likelihoods
``diagnostics``        R-hat, effective sample sizes, Pareto smoothing; ``information``: LOO and WAIC
``parameters``         draws of beta, T, b and phi, and summaries of what is made of them
``predictive``         predictions, replicates, residuals; ``effects``: numbers of effects and marginal means
``hypothesis``         expressions of parameters; ``variances``: variance components, intraclass correlations
``after``              the methods that all fits share; ``diagnose``: whether a fit can be relied on
``draws``, ``fits``    what comes back; ``draw_files``: saving; ``arviz_export``
=====================  ===============================================================================================
"""
