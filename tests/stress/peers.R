# What lme4 and glmmTMB make of the stress problems: log-likelihoods for test_stress.py.
#
# Usage: python tests/stress/export.py FOLDER; Rscript tests/stress/peers.R FOLDER
# Reads FOLDER/problems.csv (name, formula, family, link, n_agq, reml, weights) and FOLDER/<name>.csv;
# writes FOLDER/peers.csv (name, package, logLik, seconds, message).

suppressMessages({
  library(lme4)
  library(glmmTMB)
})

folder <- commandArgs(trailingOnly = TRUE)[1]
problems <- read.csv(file.path(folder, "problems.csv"), stringsAsFactors = FALSE)

family_of <- function(package, name, link) {
  switch(name,
    binomial = binomial(link), poisson = poisson(link), gamma = Gamma(link), gaussian = gaussian(link),
    inverse_gaussian = inverse.gaussian(link),
    negative_binomial = if (package == "glmmTMB") nbinom2(link) else stop("glmer.nb is an outer search"))
}

fit_one <- function(package, p, d) {
  f <- as.formula(p$formula)
  w <- if (is.na(p$weights)) rep(1, nrow(d)) else d[[p$weights]]
  environment(f) <- environment()
  if (package == "glmmTMB") {
    if (p$n_agq != 1) stop("Laplace only")
    family <- if (p$family == "lmm") gaussian() else family_of(package, p$family, p$link)
    return(glmmTMB(f, d, family = family, weights = w, REML = as.logical(p$reml)))
  }
  if (p$family == "lmm") return(lmer(f, d, REML = as.logical(p$reml), weights = w))
  if (p$family %in% c("gamma", "gaussian", "inverse_gaussian")) stop("lme4 1.1 does not estimate the scale by ML")
  glmer(f, d, family = family_of(package, p$family, p$link), nAGQ = p$n_agq, weights = w)
}

said <- function(e) gsub("[\r\n\",]+", " ", conditionMessage(e))

results <- list()
for (i in seq_len(nrow(problems))) {
  p <- problems[i, ]
  d <- read.csv(file.path(folder, paste0(p$name, ".csv")), stringsAsFactors = TRUE)
  for (package in c("lme4", "glmmTMB")) {
    heard <- character()
    time <- system.time(value <- tryCatch(
      withCallingHandlers(as.numeric(logLik(fit_one(package, p, d))),
        warning = function(w) { heard <<- c(heard, said(w)); invokeRestart("muffleWarning") },
        message = function(m) { heard <<- c(heard, said(m)); invokeRestart("muffleMessage") }),
      error = function(e) { heard <<- c(heard, paste("ERROR", said(e))); NA_real_ }))[["elapsed"]]
    results[[length(results) + 1]] <- data.frame(
      name = p$name, package = package, logLik = sprintf("%.8f", value), seconds = round(time, 2),
      message = substr(paste(unique(heard), collapse = " | "), 1, 200))
    write.csv(do.call(rbind, results), file.path(folder, "peers.csv"), row.names = FALSE)
  }
}
