# Makes golden_emmeans.csv next to it: Rscript golden_emmeans.R, in this folder.
# Reference: R 4.2.2, lme4 1.1-31, lmerTest 3.1-3, pbkrtest 0.5.2, emmeans 1.8.4-1. Data: golden_data.csv (made up:
# three unbalanced factors, two empty cells of a x b) and lme4's cbpp and cake.
suppressMessages({library(lme4); library(lmerTest); library(emmeans)})
emm_options(cov.keep = character(0), lmer.df = "satterthwaite", opt.digits = FALSE)

names_here <- c(emmean = "estimate", prob = "estimate", rate = "estimate", response = "estimate", ratio = "estimate",
                odds.ratio = "estimate", asymp.LCL = "lower", lower.CL = "lower", asymp.UCL = "upper", upper.CL = "upper",
                t.ratio = "stat", z.ratio = "stat")
numbers <- c("estimate", "SE", "df", "lower", "upper", "stat", "p.value")
out <- list()
put <- function(key, object, ...) {
  d <- as.data.frame(object)
  known <- names(d) %in% names(names_here)
  names(d)[known] <- names_here[names(d)[known]]
  for (v in setdiff(numbers, names(d))) d[[v]] <- NA
  out[[length(out) + 1]] <<- cbind(key = key, d[numbers])
}
both <- function(x, ...) summary(x, infer = c(TRUE, TRUE), ...)

f <- glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, binomial)
e <- emmeans(f, "period")
put("cbpp", e)
put("cbpp response", emmeans(f, "period", type = "response"))
put("cbpp pairs", both(pairs(e)))
put("cbpp odds ratios", both(pairs(e, type = "response")))
put("cbpp eff", both(contrast(e, "eff")))
put("cbpp poly", both(contrast(e, "poly")))
put("cbpp holm", both(pairs(e, adjust = "holm")))
put("cbpp sidak", both(pairs(e, adjust = "sidak")))
put("cbpp differences", both(pairs(regrid(e), adjust = "none")))
put("cbpp simultaneous", summary(e, adjust = "sidak"))

d <- read.csv("golden_data.csv", stringsAsFactors = TRUE)
m <- lmer(y ~ a + b * x + c + (1 | g), d)
for (w in c("equal", "proportional", "outer", "cells")) {
  put(paste("weights", w), emmeans(m, "b", weights = w))
  put(paste("weights two", w), emmeans(m, ~ a * b, weights = w))
}
put("at", emmeans(m, ~ b | x, at = list(x = c(2, 4), a = c("p", "q"))))
put("at pairs", both(pairs(emmeans(m, ~ b | x, at = list(x = c(2, 4))))))
put("kr", emmeans(m, "b", lmer.df = "kenward-roger"))
put("kr pairs", both(pairs(emmeans(m, "b", lmer.df = "kenward-roger"))))
trend <- as.data.frame(both(emtrends(m, "b", var = "x")))
names(trend)[names(trend) == "x.trend"] <- "estimate"
put("trend", trend)

r <- lmer(y ~ a * b + poly(x, 2) + (1 | g), d)
put("rank", emmeans(r, ~ a * b))
put("rank average", emmeans(r, "a"))
put("rank cells", emmeans(r, "a", weights = "cells"))

p <- glmer(k ~ a + x + offset(log(w)) + (1 | g), d, poisson)
put("offset", emmeans(p, "a"))
put("offset zero", emmeans(p, "a", offset = 0, type = "response"))
put("offset ratios", both(pairs(emmeans(p, "a", type = "response"))))

ck <- lmer(angle ~ recipe * temperature + (1 | recipe:replicate), cake)
put("cake simple", both(pairs(emmeans(ck, ~ recipe | temperature), adjust = "holm")))
write.csv(do.call(rbind, out), "golden_emmeans.csv", row.names = FALSE, na = "")
