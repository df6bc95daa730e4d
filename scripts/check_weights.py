"""Load the configured weights once, before anything else waits for them."""

from iliopsoas import files, logs
from iliopsoas.stages import learning

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        found = learning.check_weights(
            snakemake.input.weights,
            parameters=snakemake.params.parameters
            | {"batch_size": 1, "weights_sha256": snakemake.params.sha256},
            crop=snakemake.params.crop,
        )
        files.write_json(snakemake.output[0], found)
