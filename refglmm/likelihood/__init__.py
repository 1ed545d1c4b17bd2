"""PIRLS, Laplace, adaptive quadrature and the profiled criteria of linear models, each with its exact gradient."""
