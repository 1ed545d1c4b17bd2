# Maximum likelihood fits of nlme to refglmm's Orthodont data: log-likelihoods and estimates for test_residuals.py.
# Rscript golden_residuals.R path/to/Orthodont.csv
library(nlme)
d <- read.csv(commandArgs(TRUE)[1])
d$position <- (d$age - 6) / 2
d$t <- factor(d$position)
out <- d[-c(2, 7, 8, 21), ]
show <- function(name, fit) {
  cat(sprintf("%s: logLik %.8f; beta %s; sigma %.8f; corr %s; other %s\n", name, as.numeric(logLik(fit)),
    paste(sprintf("%.7f", if (inherits(fit, "lme")) fixef(fit) else coef(fit)), collapse = " "), fit$sigma,
    paste(sprintf("%.7f", coef(fit$modelStruct$corStruct, unconstrained = FALSE)), collapse = " "),
    paste(sprintf("%.7f", c(coef(fit$modelStruct$varStruct, unconstrained = FALSE),
      if (inherits(fit, "lme")) as.numeric(VarCorr(fit)[1, 2]))), collapse = " ")))
}
tight <- glsControl(tolerance = 1e-10, msTol = 1e-12, maxIter = 200)
show("ar1 rows", gls(distance ~ age, out, corAR1(form = ~ position | Subject), method = "ML", control = tight))
show("car1", gls(distance ~ age, out, corCAR1(form = ~ age | Subject), method = "ML", control = tight))
show("cs", gls(distance ~ age, out, corCompSymm(form = ~ 1 | Subject), method = "ML", control = tight))
show("toep", gls(distance ~ age, d, corARMA(form = ~ position | Subject, p = 3, q = 0), method = "ML", control = tight))
show("un by sex", gls(distance ~ age, out, corSymm(form = ~ position | Subject), varIdent(form = ~ 1 | Sex),
  method = "ML", control = tight))
show("lme ar1", lme(distance ~ age, out, ~ 1 | Subject, corAR1(form = ~ position | Subject), method = "ML",
  control = lmeControl(tolerance = 1e-10, msTol = 1e-12, maxIter = 200, msMaxIter = 200)))
cat(sprintf("nlme %s, R %s\n", packageVersion("nlme"), getRversion()))
