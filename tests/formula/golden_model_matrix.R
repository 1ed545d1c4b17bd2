# Makes golden_model_matrix.txt:  Rscript golden_model_matrix.R > golden_model_matrix.txt
# Base R only: stats::model.matrix, and splines for bs() and ns().
library(splines)
d <- data.frame(
  age = c(1, 3, 2, 5, 4, 6, 8, 7, 9, 12, 11, 10.5),
  w = c(0.3, -1.2, 2.5, 0.1, 1.7, -0.4, 0.9, -2.2, 1.1, 0.6, -0.7, 1.9),
  f = factor(rep(c("a", "b", "c"), 4)),
  g = factor(rep(c("u", "v"), each = 6)),
  h = factor(c("p", "q", "q", "p", "q", "p", "q", "p", "p", "q", "p", "q")),
  o = factor(rep(c("low", "mid", "high", "top", "max"), length.out = 12),
             levels = c("low", "mid", "high", "top", "max"), ordered = TRUE),
  ch = c(TRUE, FALSE, FALSE, TRUE, TRUE, FALSE, TRUE, FALSE, TRUE, TRUE, FALSE, FALSE),
  livch = c(0, 1, 2, 0, 3, 1, 0, 0, 2, 1, 3, 0))
d[["silly period"]] <- factor(rep(1:4, 3))
d[["total.fruits"]] <- d$age * 2
cases <- list(
  "~ f * age + I(age^2)", "~ poly(age, 2)", "~ poly(age, 1)", "~ poly(age, 3, raw = TRUE)", "~ scale(age)",
  "~ scale(age, scale = FALSE)", "~ scale(age, center = FALSE)", "~ ch * age", "~ 0 + f:g", "~ f:age",
  "~ (f + g + age)^2", "~ f / age", "~ f %in% g", "~ I(age  ^2+ 1)", "~ factor(livch!=0)", "~ factor(livch)",
  "~ age:f + f", "~ o", "~ o * w", "~ 0 + o", "~ log(age + 1, 2)", "~ I(age*-1) + I(age %% 2)", "~ I((age-5)*2)",
  "~ cos(2*pi*age)", "~ I(1e5*age) + I(0.10*age)", "~ I(age > 3 & f == \"a\")", "~ ch:age", "~ f:g + age:f:g",
  "~ f * g * h", "~ f + g:h", "~ 0 + age + f", "~ 0 + age:f + g", "~ 0 + f + g", "~ g / f", "~ (f + g)^2 - g",
  "~ f * g - 1", "~ age * w * f", "~ `silly period` * age", "~ total.fruits + log10(total.fruits)", "~ 1", "~ 0 + age",
  "~ h:f + f", "~ b2:f + f:b2", "~ poly(age, 2):f", "~ f:poly(w, 2) + g", "~ age + offset(w) + g", "~ bs(age, df = 5)",
  "~ bs(age, knots = c(4, 8), degree = 2)", "~ ns(age, df = 3)", "~ ns(age, knots = 5) + f", "~ round(w, 1) + abs(w)",
  "~ ifelse(age > 4, w, 0)", "~ as.numeric(o)", "~ relevel(f, ref = \"b\")", "~ age == 1", "~ exp(w):h + sqrt(age)",
  "~ w + age:w + g:w", "~ f:ch", "~ ch + f:ch", "~ factor(age > 4):w", "~ ordered(livch)")
d$b2 <- d$w
contrast_cases <- list(
  list("~ f * age", list(f = "contr.sum")), list("~ f + o", list(f = "contr.helmert", o = "contr.treatment")),
  list("~ f * g", list(f = "contr.poly", g = "contr.sum")), list("~ o:age", list(o = "contr.sum")),
  list("~ ch + age", list(ch = "contr.sum")))
cat("# ", R.version.string, ", base model.matrix; made by golden_model_matrix.R\n", sep = "")
show <- function(text, contrasts) {
  label <- if (is.null(contrasts)) "" else paste(names(contrasts), sub("contr.", "", unlist(contrasts)), sep = "=", collapse = ",")
  X <- model.matrix(as.formula(text), d, contrasts.arg = contrasts)
  cat("formula\t", text, "\t", label, "\n", sep = "")
  cat("names\t", paste(colnames(X), collapse = "\t"), "\n", sep = "")
  cat("assign\t", paste(attr(X, "assign"), collapse = "\t"), "\n", sep = "")
  for (i in seq_len(nrow(X))) cat("row\t", paste(sprintf("%.17g", X[i, ]), collapse = "\t"), "\n", sep = "")
}
for (text in cases) show(text, NULL)
for (case in contrast_cases) show(case[[1]], case[[2]])
algebra <- c("(f+g+age)^2", "f/age", "age:f+f", "a*b-a", "b+a+a:b", "(a+b+c)^2-(a+b:c)", "0+x+1", "x-1", "-1+x",
  "a-(a-b)", "a*b*c/d", "(a+b)/(c+d)", "a-(1+b)", "a-(b-1)", "(a+b):(a+c)", "a*b:c+d^2", "x+(b-1)", "a:0", "0:a+b",
  "a/b/c", "a*b*c-a:b:c", "(a+b+c)^3-a:b", "I(a^2)+a^2", "a+b-b+b:a", "log(a)*log(b)", "(a/b)^2", "1", "0", "a+a+b")
for (text in algebra) {
  t <- terms(as.formula(paste("~", text)))
  cat("algebra\t", text, "\t", attr(t, "intercept"), "\t", paste(attr(t, "term.labels"), collapse = "\t"), "\n", sep = "")
}
