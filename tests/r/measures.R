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

table <- do.call(rbind, rows)
table$value <- formatC(table$value, digits = 17, format = "g")
write.table(table, file.path(folder, "measures.tsv"), sep = "\t", quote = FALSE, row.names = FALSE)
