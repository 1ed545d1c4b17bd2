# The models of glmmtmb.jsonl with the glmmTMB that is installed. Started by `python -m validation.peers_again`.
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
source(file.path(here, "again.R"))
needs("glmmTMB", "apt-get install r-cran-glmmtmb")
suppressPackageStartupMessages(library(glmmTMB))

errors_of <- function(covariance) if (!is.null(covariance) && nrow(covariance) > 0) as.list(sqrt(diag(covariance)))

variances <- function(terms) {
  lapply(terms, function(term) {
    list(
      names = I(rownames(term)), values = unname(matrix(term, nrow(term))), sd = I(unname(attr(term, "stddev"))),
      cor = unname(matrix(attr(term, "correlation"), nrow(term)))
    )
  })
}

describe <- function(model) {
  estimates <- fixef(model)
  covariance <- vcov(model)
  likelihood <- logLik(model)
  list(
    REML = isTRUE(model$modelInfo$REML), logLik = as.numeric(likelihood), objective_nll = model$fit$objective,
    df = attr(likelihood, "df"), AIC = AIC(model), BIC = BIC(model), n_obs = nobs(model),
    n_groups = lapply(model$modelInfo$grpVar, identity),
    betas = as.list(estimates$cond), se_betas = errors_of(covariance$cond),
    gammas = as.list(estimates$zi), se_gammas = errors_of(covariance$zi),
    dispersion_coefs = as.list(estimates$disp), se_dispersion = errors_of(covariance$disp),
    sigma = if (length(estimates$disp) < 2) sigma(model), family_params = as.list(family_params(model)),
    varcorr_cond = variances(VarCorr(model)$cond), varcorr_zi = variances(VarCorr(model)$zi),
    max_abs_gradient = max(abs(model$obj$gr(model$fit$par))), hessian_pd = model$sdr$pdHess,
    convergence_code = model$fit$convergence, message = model$fit$message
  )
}

run_cases(versions_of(c("glmmTMB", "TMB", "Matrix")), new.env(), describe)
