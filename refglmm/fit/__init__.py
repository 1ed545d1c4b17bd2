"""The fit and everything it shows.

Reading order: ``rformat`` and ``html`` (how numbers look), ``arrays`` (how they leave), then one module a
quantity: ``varcorr``, ``criteria``, ``residuals``, ``ranef``, ``vcov``, ``trace``, ``getme``, ``summary``,
``serialise``; then ``population`` (random effects integrated out), ``predict`` and ``simulate``.
"""
