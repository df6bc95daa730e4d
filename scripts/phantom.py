"""Make the synthetic cohort; participants that are there already are kept."""

from iliopsoas import logs
from iliopsoas.phantom import cohort

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        cohort.make(**snakemake.params.phantom, processes=snakemake.threads)
