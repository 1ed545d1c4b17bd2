# The calls of lme4.jsonl with the lme4 that is installed. Started by `python -m validation.peers_again`.
here <- dirname(sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE)))
source(file.path(here, "again.R"))
needs("lme4", "apt-get install r-cran-lme4")
suppressPackageStartupMessages(library(lme4))

# Names that stand in the calls: BOBYQA in both stages; no checks of convergence; fully converged.
calls <- new.env()
unchecked <- list(check.conv.grad = "ignore", check.conv.singular = "ignore", check.conv.hess = "ignore")
calls$bob <- glmerControl(optimizer = "bobyqa")
calls$loose <- do.call(glmerControl, unchecked)
calls$tight <- do.call(glmerControl, c(
  list(optimizer = "bobyqa", tolPwrss = 1e-12, optCtrl = list(rhoend = 1e-9, maxfun = 1e5)), unchecked
))

# lme4 before 2 finds the bar inside diag(...) and silently fits an unstructured term.
structured <- function(case) {
  if (packageVersion("lme4") >= "2" || !grepl("\\b(diag|cs|ar1)\\(", case$call)) return(NULL)
  "covariance structures came with lme4 2"
}

describe <- function(model) {
  glmm <- isGLMM(model)
  family <- family(model)
  size <- if (grepl("^Negative Binomial", family$family)) list(nb_theta = getME(model, "glmer.nb.theta"))
  rows <- as.data.frame(VarCorr(model))[c("grp", "var1", "var2", "sdcor")]
  gradient <- model@optinfo$derivs$gradient
  c(
    list(
      family = family$family, link = family$link, REML = isREML(model), nAGQ = if (glmm) getME(model, "devcomp")$dims[["nAGQ"]],
      nobs = nobs(model), npar = attr(logLik(model), "df"), logLik = as.numeric(logLik(model)),
      deviance = if (glmm) deviance(model) else -2 * as.numeric(logLik(model)),
      minus2ll = -2 * as.numeric(logLik(model)), AIC = AIC(model), BIC = BIC(model),
      fixef = as.list(fixef(model)), se = as.list(sqrt(diag(as.matrix(vcov(model))))),
      theta = as.list(getME(model, "theta"))
    ),
    size,
    list(
      sigma = sigma(model), VarCorr = rows, ngrps = as.list(ngrps(model)), singular = isSingular(model),
      feval = model@optinfo$feval, optimizer = I(model@optinfo$optimizer),
      max_abs_gradient = if (!is.null(gradient)) max(abs(gradient))
    )
  )
}

run_cases(versions_of(c("lme4", "Matrix", "nloptr", "minqa")), calls, describe, structured)
