# refglmm_report(fit, "reported.json"): what GLMMadaptive reports of a fit by mixed_model.
refglmm_report <- function(fit, file = "reported.json") {
  variances <- stats::vcov(fit, parm = "all")
  error <- sqrt(diag(as.matrix(variances)))
  fixed <- GLMMadaptive::fixef(fit)
  D <- as.matrix(fit$D)
  if (is.null(colnames(D))) colnames(D) <- "(Intercept)"
  group <- names(fit$id_name)
  if (is.null(group)) group <- fit$id_name
  of_zeros <- startsWith(colnames(D), "zi_")
  zeros <- if (!is.null(fit$gammas)) {
    list(
      fixef = fit$gammas,
      se = stats::setNames(error[paste0("zi_", names(fit$gammas))], names(fit$gammas))
    )
  }
  reported <- list(
    program = "GLMMadaptive",
    version = as.character(utils::packageVersion("GLMMadaptive")),
    formula = paste(deparse(stats::formula(fit), width.cutoff = 500), collapse = " "),
    family = fit$family$family,
    link = fit$family$link,
    n_agq = fit$control$nAGQ,
    reml = FALSE,
    nobs = stats::nobs(fit, level = 1),
    ngroups = stats::setNames(stats::nobs(fit, level = 0), group),
    fixef = fixed,
    se = error[names(fixed)],
    varcorr = refglmm_rows(group, D),
    theta = NULL,
    phis = fit$phis,
    loglik = as.numeric(stats::logLik(fit)),
    aic = stats::AIC(fit),
    bic = stats::BIC(fit),
    deviance = NULL,
    zi = zeros
  )
  writeLines(refglmm_json(reported), file, useBytes = TRUE)
  invisible(reported)
}
