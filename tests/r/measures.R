# Reference values of tests/unit/test_small_samples.py and test_measures_against_r.py, from R itself.
#
#   Rscript tests/r/measures.R FOLDER
#
# reads FOLDER/data/*.tsv (of reference.R) and writes FOLDER/measures.tsv, one number per row.

arguments <- commandArgs(trailingOnly = TRUE)
folder <- if (length(arguments)) arguments[1] else "tests/r"
rows <- list()
note <- function(kind, case, ...) {
  values <- list(...)
  rows[[length(rows) + 1]] <<- data.frame(
    kind = kind, case = case, quantity = names(values), value = unname(unlist(values)))
}
quietly <- suppressWarnings

# signed-rank estimates where the sample is too small for a 95 % interval
small <- list(pair = c(3, 8), three = c(-1, 4, 6.5), four = c(2, 2.5, -7, 11), five = sleep$extra[1:5],
              tied = c(1, 1, 1, 2), six = c(0.4, 1.1, 2.3, 3.8, 5.9, 7.7))
for (name in names(small)) {
  test <- quietly(wilcox.test(small[[name]], exact = FALSE, correct = TRUE, conf.int = TRUE))
  note("signed_rank_small", name, estimate = test$estimate, p = test$p.value,
       level = if (is.null(attr(test$conf.int, "conf.level"))) 0 else attr(test$conf.int, "conf.level"))
}

# exact limits of agreement at large n, by integrating over the chi distribution of the SD
z <- qnorm(0.975)
for (n in c(20, 1500, 50000)) {
  nu <- n - 1
  cdf <- function(t) {
    inner <- function(s) pnorm(t * s - z * sqrt(n)) * exp(dchisq(nu * s^2, nu, log = TRUE)) * 2 * nu * s
    width <- 12 / sqrt(2 * nu)
    integrate(inner, max(0, 1 - width), 1 + width, rel.tol = 1e-12, subdivisions = 2000)$value
  }
  for (share in c(0.025, 0.975)) {
    t <- uniroot(function(t) cdf(t) - share, z * sqrt(n) + c(-15, 15), tol = 1e-12)$root
    note("limit", paste(n, share), factor = t / sqrt(n))
  }
}

# one slice against the volume: Girth as cross-section, Volume as volume
test <- cor.test(trees$Girth, trees$Volume)
fit <- lm(Volume ~ Girth, trees)
note("slice", "trees", r = test$estimate, r_low = test$conf.int[1], r_high = test$conf.int[2],
     intercept_ml = coef(fit)[[1]], slope_ml_per_cm2 = coef(fit)[[2]], residual_ml = sigma(fit),
     area_cm2 = mean(trees$Girth), area_cm2_sd = sd(trees$Girth))

# centiles: location, scale and quantiles of what remains, by lm and glm (He 1997)
read <- function(name) read.delim(file.path(folder, "data", paste0(name, ".tsv")))
cohort <- read("cohort"); quakes <- read("quakes")
men <- cohort[cohort$sex == "male", ]
cases <- list(
  men = data.frame(age = men$age, height = men$height, y = men$total),
  quakes = data.frame(age = quakes$depth / 10, height = quakes$stations + 100, y = quakes$mag))
for (name in names(cases)) {
  d <- cases[[name]]
  knots <- quantile(d$age, c(0.02, 0.35, 0.65, 0.98))
  x <- cbind(splines::ns(d$age, knots = knots[2:3], Boundary.knots = knots[c(1, 4)], intercept = TRUE),
             log(d$height / 170))
  decade <- (d$age - round(mean(d$age))) / 10
  w <- rep(1, nrow(d))
  for (i in 1:2) {
    location <- lm(log(d$y) ~ x - 1, weights = w)
    r <- log(d$y) - drop(x %*% coef(location))
    scale <- glm(abs(r) ~ decade, family = Gamma(log), control = glm.control(1e-12, 100))
    w <- exp(-2 * predict(scale))
  }
  standard <- r / exp(predict(scale))
  note("centiles", name, exponent = coef(location)[[5]], scale = coef(scale)[[1]],
       scale_per_decade = coef(scale)[[2]], q03 = quantile(standard, 0.03), q50 = median(standard),
       q97 = quantile(standard, 0.97))
  at <- c(1, 7, 100, 500)
  values <- as.list(drop(x %*% coef(location))[at]); names(values) <- paste0("location_", at)
  do.call(note, c(list("centiles", name), values))
  shares <- c(0.5, 1, 2, 3, 5, 7.5, seq(10, 90, 5), 92.5, 95, 97, 98, 99, 99.5) / 100
  shares <- shares[nrow(d) * pmin(shares, 1 - shares) >= 10]
  z <- approx(quantile(standard, shares), qnorm(shares), standard[at])$y  # NA beyond the shares
  values <- as.list(z[!is.na(z)]); names(values) <- paste0("z_", at[!is.na(z)])
  do.call(note, c(list("centiles", name), values))
}

# the invariant score and the exponent of height
fit <- lm(total ~ height + I(imi / 3), men)
note("invariant", "men", constant = coef(fit)[[1]], per_cm = coef(fit)[[2]], per_kg = coef(fit)[[3]],
     residual_sd = sigma(fit), z_1 = residuals(fit)[[1]] / sigma(fit),
     z_500 = residuals(fit)[[500]] / sigma(fit))
for (adjustment in c("none", "age")) {
  fit <- if (adjustment == "none") lm(log(total) ~ log(height / 100), men) else
    lm(log(total) ~ log(height / 100) + age, men)
  interval <- confint(fit)[2, ]; estimate <- summary(fit)$coefficients[2, 1:2]
  note("allometry", adjustment, exponent = estimate[[1]], exponent_low = interval[[1]],
       exponent_high = interval[[2]],
       p_of_2 = 2 * pt(-abs((estimate[[1]] - 2) / estimate[[2]]), df.residual(fit)))
}

# repeat visits: variance components by REML, mean squares by aov
pairs <- list(sleep = list(sleep$extra[1:10], sleep$extra[11:20]),
              sides = list(cohort$left[1:40], cohort$right[1:40]))
for (name in names(pairs)) {
  a <- pairs[[name]][[1]]; b <- pairs[[name]][[2]]; n <- length(a)
  d <- data.frame(y = c(a, b), who = factor(rep(seq_len(n), 2)), visit = factor(rep(1:2, each = n)))
  mixed <- nlme::lme(y ~ visit, random = ~ 1 | who, data = d)
  v <- as.numeric(nlme::VarCorr(mixed)[, 1])
  ms <- summary(aov(y ~ who + visit, d))[[1]][["Mean Sq"]]
  f <- ms[1] / ms[3]; q <- qf(0.975, n - 1, n - 1)
  icc <- (ms[1] - ms[3]) / (ms[1] + ms[3] + 2 / n * (ms[2] - ms[3]))
  # McGraw and Wong 1996, table 7, case 2A
  ra <- 2 * icc / (n * (1 - icc)); rb <- 1 + 2 * icc * (n - 1) / (n * (1 - icc))
  df <- (ra * ms[2] + rb * ms[3])^2 / ((ra * ms[2])^2 + (rb * ms[3])^2 / (n - 1))
  fl <- qf(0.975, n - 1, df); fu <- qf(0.975, df, n - 1)
  low <- n * (ms[1] - fl * ms[3]) / (fl * (2 * ms[2] + (n - 2) * ms[3]) + n * ms[1])
  high <- n * (fu * ms[1] - ms[3]) / (2 * ms[2] + (n - 2) * ms[3] + n * fu * ms[1])
  note("change", name, icc_consistency = v[1] / (v[1] + v[2]), within_sd = sqrt(v[2]),
       icc_consistency_low = (f / q - 1) / (f / q + 1), icc_consistency_high = (f * q - 1) / (f * q + 1),
       icc_agreement = icc, icc_agreement_low = low, icc_agreement_high = high,
       within_sd_low = sqrt(var(b - a) / 2 * (n - 1) / qchisq(0.975, n - 1)),
       within_sd_high = sqrt(var(b - a) / 2 * (n - 1) / qchisq(0.025, n - 1)),
       smallest_change = 1.959963984540054 * sd(b - a))
}
changes <- list(sleep = sleep$extra[11:20] - sleep$extra[1:10], cohort = cohort$right - cohort$left)
for (name in names(changes)) {
  off <- scale(changes[[name]]) / qnorm(0.975)
  note("reliable", name, lower = sum(off < -1), higher = sum(off > 1), row = which(abs(off) > 1)[1])
}
for (n in c(20, 500, 60000))
  note("power", n, detectable = power.t.test(n = n, power = 0.8, sd = 1, type = "paired")$delta)

table <- do.call(rbind, rows)
table$value <- formatC(table$value, digits = 17, format = "g")
write.table(table, file.path(folder, "measures.tsv"), sep = "\t", quote = FALSE, row.names = FALSE)
