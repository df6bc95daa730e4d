"""Remove the stitched images of a shard's measured participants."""

from iliopsoas import files, logs
from iliopsoas.stages import images

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        removed = images.remove(
            snakemake.input.manifest,
            dixon=snakemake.input.dixon,
            volumes=snakemake.input.volumes,
            results=snakemake.params.results,
            parameters=snakemake.params.parameters,
        )
        files.write_json(snakemake.output[0], removed)
