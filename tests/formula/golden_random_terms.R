# Makes golden_random_terms.txt:  Rscript golden_random_terms.R > golden_random_terms.txt
# lme4's lFormula: labels of the terms in theta order, their columns, levels, and a checksum of Zt.
suppressMessages(library(lme4))
d <- data.frame(
  y = c(5, 3, 8, 1, 9, 2, 7, 4, 6, 0, 2.5, 3.5), x = c(1, 3, 2, 5, 4, 6, 8, 7, 9, 12, 11, 10.5),
  f = factor(rep(c("a", "b", "c"), 4)), g = factor(rep(c("u", "v"), each = 6)),
  h = factor(c("p", "q", "q", "p", "q", "p", "q", "p", "p", "q", "p", "q")),
  id = rep(c(10, 9, 2, 33), 3), ch = c(TRUE, FALSE, FALSE, TRUE, TRUE, FALSE, TRUE, FALSE, TRUE, TRUE, FALSE, FALSE))
ctrl <- lmerControl(check.nobs.vs.nRE = "ignore", check.nobs.vs.nlev = "ignore", check.nobs.vs.rankZ = "ignore",
                    check.rankX = "ignore")
cases <- c("(1|f)", "(x|f)", "(0+x|f)", "(x-1|f)", "(1|g)+(1|f)", "(1|f)+(x|g)", "(1|f/g)", "(1|g/h/f)", "(1|id)",
           "(ch|id)", "(f|g)", "(0+f|g)", "(f*x|g)", "(1|f:g)", "(1|g)+(0+x|g)", "(x||g)", "(x+f||g)", "(1|g)+(1|h)",
           "(1|f)+(1|g)+(1|h)", "(1|g)+(1|f)+(1|h)", "(poly(x,2)|g)", "(scale(x)|f)", "(1|g:f)+(1|f)",
           "(1|f:g:h)", "(log(x)|h)+(1|f)", "(f:x|g)", "(1|f)+(1|id)+(1|h)")
cat("# ", R.version.string, ", lme4 ", format(packageVersion("lme4")), "; made by golden_random_terms.R\n", sep = "")
for (text in cases) {
  r <- lFormula(as.formula(paste("y ~ 1 +", text)), d, control = ctrl)$reTrms
  cat("formula\t", text, "\n", sep = "")
  for (i in seq_along(r$cnms)) {
    group <- names(r$cnms)[i]
    cat("term\t", group, "\t", paste(r$cnms[[i]], collapse = "|"), "\t", paste(levels(r$flist[[group]]), collapse = "|"), "\n", sep = "")
  }
  Z <- as.matrix(r$Zt); w <- sin(seq_along(Z))
  cat("Zt\t", nrow(Z), "\t", sprintf("%.17g\t%.17g", sum(Z * w), sum(Z^2 * w)), "\n", sep = "")
}
