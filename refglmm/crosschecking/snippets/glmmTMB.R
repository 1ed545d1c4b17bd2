# refglmm_report(fit, "reported.json"): what glmmTMB reports of a fit.
refglmm_report <- function(fit, file = "reported.json") {
  family <- stats::family(fit)
  estimates <- glmmTMB::fixef(fit)
  errors <- stats::vcov(fit)
  deviations <- glmmTMB::VarCorr(fit)
  rows <- function(part) do.call(c, c(list(list()),
    lapply(names(deviations[[part]]), function(g) refglmm_rows(g, as.matrix(deviations[[part]][[g]])))))
  error <- function(name)
    stats::setNames(sqrt(diag(as.matrix(errors[[name]]))), names(estimates[[name]]))
  part <- function(name) {
    if (length(estimates[[name]]) == 0) return(NULL)
    list(fixef = estimates[[name]], se = error(name), varcorr = rows(name))
  }
  modelled <- !identical(deparse(fit$modelInfo$allForm$dispformula), "~1")
  spread <- if (glmmTMB:::usesDispersion(family$family)) stats::sigma(fit)
  shapes <- glmmTMB::family_params(fit)
  reported <- list(
    program = "glmmTMB",
    version = as.character(utils::packageVersion("glmmTMB")),
    formula = paste(deparse(stats::formula(fit), width.cutoff = 500), collapse = " "),
    family = family$family,
    link = family$link,
    n_agq = 1,
    reml = isTRUE(fit$modelInfo$REML),
    nobs = stats::nobs(fit),
    ngroups = vapply(fit$modelInfo$reTrms$cond$flist, nlevels, 0L),
    fixef = estimates$cond,
    se = error("cond"),
    varcorr = rows("cond"),
    theta = NULL,
    sigma = if (!modelled) spread,
    phi = if (length(shapes) > 0) shapes,
    loglik = as.numeric(stats::logLik(fit)),
    aic = stats::AIC(fit),
    bic = stats::BIC(fit),
    deviance = NULL,
    zi = part("zi"),
    dispersion = if (modelled) part("disp")
  )
  writeLines(refglmm_json(reported), file, useBytes = TRUE)
  invisible(reported)
}
