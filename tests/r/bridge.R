# Reference values of tests/unit/test_export.py and test_methods.py, from R itself.
#
#   Rscript tests/r/bridge.R FOLDER
#
# reads FOLDER/data/*.tsv (of reference.R) and writes FOLDER/bridge.tsv, one number per row.

arguments <- commandArgs(trailingOnly = TRUE)
folder <- if (length(arguments)) arguments[1] else "tests/r"
rows <- list()
note <- function(kind, case, ...) {
  values <- list(...)
  rows[[length(rows) + 1]] <<- data.frame(
    kind = kind, case = case, quantity = names(values), value = unname(unlist(values)))
}
read <- function(name) read.delim(file.path(folder, "data", paste0(name, ".tsv")))

# Blom's normal scores, of data with ties and missing values
for (case in list(c("airquality", "Ozone"), c("rounded", "left"), c("faithful", "eruptions"))) {
  values <- read(case[1])[[case[2]]]
  score <- qnorm((rank(values, na.last = "keep") - 3 / 8) / (sum(!is.na(values)) + 1 / 4))
  at <- c(1, 2, 3, 5, 26, 77, 100)
  note("blom", paste(case, collapse = "-"), sd = sd(score, na.rm = TRUE))
  shown <- as.list(score[at]); names(shown) <- paste0("at_", at)
  do.call(note, c(list("blom", paste(case, collapse = "-")), shown))
}

# three methods that measured the same, with gaps: each two of them, and each against the others' mean
methods <- read("airquality")[, c("Ozone", "Solar.R", "Temp")]
against <- function(case, a, b) {
  test <- t.test(a - b)
  note("agreement", case, n = sum(!is.na(a - b)), bias = unname(test$estimate),
       bias_low = test$conf.int[1], bias_high = test$conf.int[2], sd = sd(a - b, na.rm = TRUE))
}
for (pair in list(c(2, 1), c(3, 1), c(3, 2)))
  against(paste(names(methods)[pair], collapse = " - "), methods[[pair[1]]], methods[[pair[2]]])
complete <- na.omit(methods)
for (i in 1:3) against(paste(names(methods)[i], "- mean of the others"), complete[[i]],
                       rowMeans(complete[-i]))
against("Solar.R - manual", methods$Solar.R, methods$Ozone + 2 * methods$Temp)

# a distribution between 0 and 1 as Dice
share <- read("airquality")$Ozone / 200
note("overlap", "Ozone", n = sum(!is.na(share)), mean = mean(share, na.rm = TRUE),
     sd = sd(share, na.rm = TRUE), p5 = quantile(share, 0.05, na.rm = TRUE),
     median = median(share, na.rm = TRUE))

table <- do.call(rbind, rows)
table$value <- ifelse(is.na(table$value), "", formatC(table$value, digits = 17, format = "g"))
write.table(table, file.path(folder, "bridge.tsv"), sep = "\t", quote = FALSE, row.names = FALSE)
