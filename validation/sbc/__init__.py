"""Simulation-based calibration of the Bayesian side: the truth among posterior draws has every rank equally often.

Parameters are drawn from the prior, data from the parameters, and the posterior of the data is sampled as a user would.
Then the rank of the true value of any quantity among L independent posterior draws is uniform on 0, ..., L (Talts et
al. 2018, "Validating Bayesian inference algorithms with simulation-based calibration"): a wrong density, Jacobian,
prior constant that moves with a parameter, or sampler shows as ranks that are not.

Reading order: ``pairs``, ``simulate``, ``ranks``, ``uniformity``, ``plot``, ``report``, ``run``.
"""
