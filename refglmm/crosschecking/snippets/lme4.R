# refglmm_report(fit, "reported.json"): what lme4 reports of a fit by lmer, glmer or glmer.nb.
refglmm_report <- function(fit, file = "reported.json") {
  linear <- lme4::isLMM(fit)
  family <- stats::family(fit)
  size <- if (lme4::isGLMM(fit) && startsWith(family$family, "Negative Binomial"))
    lme4::getME(fit, "glmer.nb.theta")
  table <- as.data.frame(lme4::VarCorr(fit))
  table <- table[!(table$grp == "Residual" & is.na(table$var1)), ]
  reported <- list(
    program = "lme4",
    version = as.character(utils::packageVersion("lme4")),
    formula = paste(deparse(stats::formula(fit), width.cutoff = 500), collapse = " "),
    family = if (is.null(size)) family$family else "negative.binomial",
    link = family$link,
    n_agq = if (!linear) lme4::getME(fit, "devcomp")$dims[["nAGQ"]],
    reml = lme4::isREML(fit),
    nobs = stats::nobs(fit),
    ngroups = lme4::ngrps(fit),
    fixef = lme4::fixef(fit),
    se = sqrt(diag(as.matrix(stats::vcov(fit)))),
    varcorr = lapply(seq_len(nrow(table)), function(i)
      list(group = table$grp[i], name = table$var1[i],
           name2 = if (!is.na(table$var2[i])) table$var2[i], value = table$sdcor[i])),
    theta = lme4::getME(fit, "theta"),
    sigma = if (linear || lme4::getME(fit, "devcomp")$dims[["useSc"]] == 1) stats::sigma(fit),
    phi = if (!is.null(size)) c(size = size),
    loglik = as.numeric(stats::logLik(fit)),
    aic = stats::AIC(fit),
    bic = stats::BIC(fit),
    deviance = if (lme4::isREML(fit)) NULL else stats::deviance(fit)
  )
  writeLines(refglmm_json(reported), file, useBytes = TRUE)
  invisible(reported)
}
