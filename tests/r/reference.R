# The reference values of tests/unit/test_r_agreement.py, from R itself.
#
#   Rscript tests/r/reference.R FOLDER
#
# writes FOLDER/data/*.tsv (the inputs), FOLDER/reference.tsv (one number per row) and
# FOLDER/gam_curves.tsv. Data: R's own public data sets and two simulated cohorts.

suppressPackageStartupMessages(library(mgcv))
arguments <- commandArgs(trailingOnly = TRUE)
folder <- if (length(arguments)) arguments[1] else "tests/r"
dir.create(file.path(folder, "data"), recursive = TRUE, showWarnings = FALSE)

RNGkind("Mersenne-Twister", "Inversion", "Rejection")
set.seed(2020)
n <- 2000
sex <- rep(c("female", "male"), length.out = n)
age <- pmin(82, pmax(44, round(rnorm(n, 63.3, 8.3))))
height <- ifelse(sex == "male", rnorm(n, 176.2, 6.8), rnorm(n, 162.5, 6.1))
imi <- ifelse(sex == "male", 262, 205) - 0.4 * (age - 63) -
  ifelse(sex == "male", 2.2, 0.2) * pmax(age - 62, 0) + rnorm(n, 0, 25)
total <- imi * (height / 100)^2
left <- total / 2 - 3.4 + rnorm(n, 0, 9)
cohort <- data.frame(sex, age, height, imi, total, left, right = total - left)
# rounding makes ties and, in the differences, zeros; some values are missing
rounded <- data.frame(sex = sex[1:400], left = round(left[1:400] / 5) * 5,
                      right = round((total - left)[1:400] / 5) * 5, age = age[1:400],
                      imi = round(imi[1:400]))
rounded$left[c(3, 50, 77)] <- NA
rounded$imi[c(8, 9)] <- NA
sleep2 <- data.frame(first = sleep$extra[1:10], second = sleep$extra[11:20])

data_sets <- list(
  mtcars = mtcars, airquality = airquality, iris = iris, faithful = faithful, trees = trees,
  quakes = quakes, cars = cars, sleep2 = sleep2, insects = InsectSprays, cohort = cohort,
  rounded = rounded
)
exact <- function(table) {
  table[] <- lapply(table, function(column)
    if (is.numeric(column)) ifelse(is.na(column), "", formatC(column, digits = 17, format = "g"))
    else as.character(column))
  table
}
write_tsv <- function(table, name)
  write.table(exact(table), file.path(folder, name), sep = "\t", quote = FALSE, row.names = FALSE)
for (name in names(data_sets)) write_tsv(data_sets[[name]], file.path("data", paste0(name, ".tsv")))

rows <- list()
note <- function(kind, data, x, y, ...) {
  values <- list(...)
  rows[[length(rows) + 1]] <<- data.frame(
    kind = kind, data = data, x = x, y = y, quantity = names(values),
    value = unname(unlist(values)))
}
column <- function(data, name) data_sets[[data]][[name]]
quietly <- suppressWarnings

# two groups, the first in alphabetical order being x
for (case in list(c("mtcars", "mpg", "am"), c("mtcars", "hp", "vs"), c("airquality", "Ozone", "late"),
                  c("iris", "Petal.Length", "virginica"), c("cohort", "total", "sex"),
                  c("cohort", "imi", "sex"), c("rounded", "left", "sex"), c("rounded", "imi", "sex"))) {
  x <- column(case[1], case[2])
  group <- switch(case[3], late = as.integer(airquality$Month >= 8),
                  virginica = as.integer(iris$Species == "virginica"), column(case[1], case[3]))
  parts <- split(x, group)
  test <- quietly(wilcox.test(parts[[1]], parts[[2]], exact = FALSE, correct = TRUE, conf.int = TRUE))
  note("rank_sum", case[1], case[2], case[3], statistic = test$statistic, p = test$p.value,
       estimate = test$estimate, low = test$conf.int[1], high = test$conf.int[2])
}

for (case in list(c("sleep2", "first", "second"), c("iris", "Sepal.Width", "Petal.Length"),
                  c("airquality", "Solar.R", "Ozone"), c("cohort", "left", "right"),
                  c("rounded", "left", "right"))) {
  test <- quietly(wilcox.test(column(case[1], case[2]), column(case[1], case[3]), paired = TRUE,
                              exact = FALSE, correct = TRUE, conf.int = TRUE))
  note("signed_rank", case[1], case[2], case[3], statistic = test$statistic, p = test$p.value,
       estimate = test$estimate, low = test$conf.int[1], high = test$conf.int[2])
}

for (case in list(c("mtcars", "mpg", "wt"), c("mtcars", "qsec", "drat"), c("airquality", "Ozone", "Temp"),
                  c("airquality", "Ozone", "Wind"), c("faithful", "eruptions", "waiting"),
                  c("trees", "Girth", "Height"), c("quakes", "mag", "depth"), c("cohort", "total", "height"),
                  c("cohort", "imi", "age"), c("rounded", "imi", "age"))) {
  test <- cor.test(column(case[1], case[2]), column(case[1], case[3]), method = "spearman", exact = FALSE)
  note("spearman", case[1], case[2], case[3], statistic = test$statistic, rho = test$estimate,
       p = test$p.value)
}

for (case in list(c("mtcars", "mpg"), c("mtcars", "disp"), c("airquality", "Ozone"), c("iris", "Sepal.Width"),
                  c("faithful", "eruptions"), c("trees", "Volume"), c("quakes", "depth"),
                  c("sleep2", "first"), c("cohort", "total"), c("cohort", "imi"), c("rounded", "left"))) {
  test <- shapiro.test(column(case[1], case[2]))
  note("shapiro", case[1], case[2], "", statistic = test$statistic, p = test$p.value)
}

for (case in list(c("insects", "count", "spray"), c("iris", "Sepal.Length", "Species"),
                  c("mtcars", "mpg", "cyl"))) {
  test <- kruskal.test(column(case[1], case[2]), factor(column(case[1], case[3])))
  note("kruskal", case[1], case[2], case[3], statistic = test$statistic, p = test$p.value,
       df = test$parameter)
}

# volume by height and sex: the coefficient of being male
for (case in list(c("cohort", "total", "height", "sex"), c("mtcars", "mpg", "wt", "am"))) {
  y <- column(case[1], case[2]); x <- column(case[1], case[3]); group <- column(case[1], case[4])
  second <- as.integer(group == sort(unique(group))[2])
  fit <- lm(y ~ x + second)
  interval <- confint(fit)["second", ]
  note("adjusted", case[1], case[2], paste(case[3], case[4]), estimate = coef(fit)[["second"]],
       slope = coef(fit)[["x"]], low = interval[1], high = interval[2],
       p = summary(fit)$coefficients["second", 4])
}

# mean difference of pairs with its t interval; noncentral t quantiles of the exact limits
for (case in list(c("sleep2", "first", "second"), c("iris", "Sepal.Width", "Petal.Length"))) {
  difference <- column(case[1], case[2]) - column(case[1], case[3])
  test <- t.test(difference)
  m <- length(difference); s <- sd(difference); z <- qnorm(0.975)
  tail <- qt(c(0.025, 0.975), m - 1, ncp = z * sqrt(m)) * s / sqrt(m)
  note("bland_altman", case[1], case[2], case[3], bias = test$estimate, bias_low = test$conf.int[1],
       bias_high = test$conf.int[2], upper = mean(difference) + z * s,
       upper_low = mean(difference) + tail[1], upper_high = mean(difference) + tail[2],
       lower_low = mean(difference) - tail[2], lower_high = mean(difference) - tail[1])
}

p <- c(0.01, 0.02, 0.03, 0.04, 0.05, 0.8, 1e-20, 0.011, 0.011)
for (i in seq_along(p)) note("benjamini_hochberg", "", format(i), format(p[i]), q = p.adjust(p, "BH")[i])

curves <- list()
for (case in list(c("faithful", "eruptions", "waiting"), c("airquality", "Ozone", "Temp"),
                  c("quakes", "stations", "mag"), c("trees", "Volume", "Girth"), c("cars", "dist", "speed"),
                  c("cohort_female", "imi", "age"), c("cohort_male", "imi", "age"),
                  c("mtcars", "mpg", "hp"))) {
  table <- switch(case[1], cohort_female = cohort[cohort$sex == "female", ],
                  cohort_male = cohort[cohort$sex == "male", ], data_sets[[case[1]]])
  d <- na.omit(data.frame(y = table[[case[2]]], x = table[[case[3]]]))
  fit <- gam(y ~ s(x, bs = "cr", k = 10), data = d, method = "REML")
  x <- seq(min(d$x), max(d$x), length.out = 101)
  prediction <- predict(fit, data.frame(x = x), se.fit = TRUE)
  step <- diff(range(x)) * 1e-5
  centre <- pmin(pmax(x, min(x) + step), max(x) - step)
  difference <- (predict(fit, data.frame(x = centre + step), type = "lpmatrix") -
                 predict(fit, data.frame(x = centre - step), type = "lpmatrix")) / (2 * step)
  summed <- summary(fit)
  note("gam", case[1], case[2], case[3], edf = sum(summed$edf), scale = fit$sig2, n = nrow(d),
       intercept = coef(fit)[[1]], intercept_se = summed$p.table[1, 2],
       r_squared = summed$r.sq, deviance_explained = summed$dev.expl)
  curves[[length(curves) + 1]] <- data.frame(
    data = case[1], x = x, fit = as.numeric(prediction$fit), se = as.numeric(prediction$se.fit),
    derivative = as.numeric(difference %*% coef(fit)),
    derivative_se = sqrt(rowSums((difference %*% vcov(fit)) * difference)))
}
write_tsv(do.call(rbind, rows), "reference.tsv")
write_tsv(do.call(rbind, curves), "gam_curves.tsv")
