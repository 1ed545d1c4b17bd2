"""Two-stage optimisation, and the certificate of the optimum."""
