# The models of glmmadaptive_fits.jsonl with the GLMMadaptive that is installed. Started by
# `python -m validation.peers_again`.
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
source(file.path(here, "again.R"))
needs("GLMMadaptive", "it is not in Debian; from CRAN: install.packages(\"GLMMadaptive\")")
suppressPackageStartupMessages(library(GLMMadaptive))

errors_of <- function(covariance) as.list(sqrt(diag(covariance)))

describe <- function(model) {
  likelihood <- logLik(model)
  zero <- !is.null(model$gammas)
  shape <- !is.null(model$phis)
  list(
    logLik = as.numeric(likelihood), df = attr(likelihood, "df"), AIC = AIC(model), BIC = BIC(model),
    betas = as.list(fixef(model)), se_betas = errors_of(vcov(model, parm = "fixed-effects")),
    gammas = if (zero) as.list(fixef(model, sub_model = "zero_part")),
    se_gammas = if (zero) errors_of(vcov(model, parm = "zero_part")),
    phis = if (shape) as.list(model$phis), se_phis = if (shape) errors_of(vcov(model, parm = "extra")),
    D = list(names = I(rownames(model$D)), values = unname(model$D)), converged_flag = model$converged
  )
}

run_cases(versions_of(c("GLMMadaptive", "Matrix")), new.env(), describe)
